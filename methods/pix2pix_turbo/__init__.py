"""pix2pix-Turbo: paired image translation in one step of SD-Turbo (Parmar et al., arXiv 2403.12036, section 3.4)."""
