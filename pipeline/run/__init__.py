"""The driver and everything around it: plan, place to work, lock, progress."""
