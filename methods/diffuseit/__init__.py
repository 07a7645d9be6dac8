"""DiffuseIT: text- or picture-guided translation by gradients while denoising (Kwon & Ye, arXiv 2209.15264)."""
