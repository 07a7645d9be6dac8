"""Training an unconditional diffusion model."""
