"""Diffusion Self-Guidance: moving, resizing and keeping things through the network's own maps (arXiv 2306.00986)."""
