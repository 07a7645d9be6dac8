"""What a run writes beside data and index, and what reads it back."""
