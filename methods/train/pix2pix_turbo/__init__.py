"""Training pix2pix-Turbo."""
