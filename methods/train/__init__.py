"""What trains the methods that are trained: plain torch loops, data from disk."""
