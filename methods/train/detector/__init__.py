"""Training of the small detector that checks labels."""
