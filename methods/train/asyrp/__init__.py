"""Training Asyrp's shift in the bottleneck."""
