"""The perceptual distance of PITI's upsampler: features of VGG19 at conv2_2, before its ReLU."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.nn.tensor_file import fill, read_tensors

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGGDistance(nn.Module):
    """Mean squared difference of features; ImageNet weights of torchvision's VGG19."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # the first eight modules of torchvision's ``vgg19().features``, under the same numbers
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1),
        )
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, path: Path) -> VGGDistance:
        """From torchvision's file. Raises InputError for a file that is not it."""
        module = cls().eval()
        own = module.state_dict()
        fill(module, {name: tensor for name, tensor in read_tensors(path).items() if name in own}, str(path))
        return module.requires_grad_(False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Two (B, 3, H, W) batches in [-1, 1] -> scalar. No gradient to ``target``."""
        with torch.no_grad():
            wanted = self._of(target)
        return F.mse_loss(self._of(output), wanted)

    def _of(self, pictures: Tensor) -> Tensor:
        return self.features(((pictures + 1) / 2 - self.mean) / self.std)
