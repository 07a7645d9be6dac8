"""The inside of a worker, without Ray: one shard from bytes to bytes."""
