"""Training a small CLIP."""
