"""The gallery: every method that has bundled weights translates a few rendered streets, shown on one page."""
