"""Networks and arithmetic that several methods share."""
