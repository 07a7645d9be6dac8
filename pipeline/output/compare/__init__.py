"""Comparing outputs that have samples in common: paired differences, and the pictures side by side."""
