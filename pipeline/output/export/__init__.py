"""One writer per format of other tools."""
