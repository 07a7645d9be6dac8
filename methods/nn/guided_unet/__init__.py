"""The UNet of guided-diffusion (Dhariwal & Nichol, arXiv 2105.05233) as ADM, GLIDE, P2 and PITI configure it."""

from methods.nn.guided_unet.config import UNetConfig
from methods.nn.guided_unet.model import Encoded, GuidedUNet

__all__ = ["Encoded", "GuidedUNet", "UNetConfig"]
