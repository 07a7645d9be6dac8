"""Training the small paired translator."""
