"""pix2pix-zero: zero-shot edits on a frozen text-to-image model (Parmar et al., arXiv 2302.03027)."""
