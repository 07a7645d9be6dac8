"""The core of img2img-turbo: SD-Turbo as a one-step image-to-image generator (Parmar et al., arXiv 2403.12036).

Shared by CycleGAN-Turbo and pix2pix-Turbo: the VAE with skip connections, the one-step generator, LoRA merging, the
official checkpoint files and our own.
"""
