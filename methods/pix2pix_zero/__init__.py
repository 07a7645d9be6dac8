"""pix2pix-zero: zero-shot image-to-image translation on a frozen text-to-image model (Parmar et al., arXiv 2302.03027)."""
