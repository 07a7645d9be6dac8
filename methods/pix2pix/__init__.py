"""pix2pix: a small paired conditional GAN in one step (Isola et al., arXiv 1611.07004); what `distill` trains."""
