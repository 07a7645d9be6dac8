"""Fine-tuning a text-to-image model."""
