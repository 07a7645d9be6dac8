"""Asyrp: edits in the bottleneck of an unconditional diffusion model (Kwon et al., arXiv 2210.10960)."""
