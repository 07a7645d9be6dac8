"""Training PITI's encoder with its base model, and its upsampler."""
