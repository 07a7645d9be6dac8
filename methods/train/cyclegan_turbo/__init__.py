"""Training CycleGAN-Turbo."""
