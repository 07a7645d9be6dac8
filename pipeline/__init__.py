"""The data plane: plan, read, translate, write, finalise. Knows methods only by their contract."""
