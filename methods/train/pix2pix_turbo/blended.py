"""A forward pass at any gamma through networks with LoRA still in place, for stochastic training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.func import functional_call

from methods.turbo.generator import TIMESTEP, OneStepGenerator


@contextlib.contextmanager
def lora_strength(networks: tuple[nn.Module, ...], gamma: float) -> Iterator[None]:
    """Inside, every LoRA acts ``gamma`` times as strong; after, as before.

    The backward pass belongs inside too: with gradient checkpointing it computes the blocks again.
    """
    layers = [module for network in networks for module in network.modules() if isinstance(module, LoraLayer)]
    before = [dict(layer.scaling) for layer in layers]
    for layer, own in zip(layers, before, strict=True):
        layer.scaling = {name: value * gamma for name, value in own.items()}
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.scaling = own


def blended(
    generator: OneStepGenerator,
    pretrained: tuple[Tensor, Tensor],
    x: Tensor,
    encoder_hidden_states: Tensor,
    noise: Tensor,
    noise_map: Tensor,
    gamma: float,
) -> Tensor:
    """:class:`methods.turbo.blend.BlendedGenerator` with gradients to LoRA, first layer and skip convolutions.

    Call it inside :func:`lora_strength` of the same gamma. ``pretrained`` are the base model's first layer; other
    arguments as there. (B, 3, H, W) float32, not clamped.
    """
    unet, vae = generator.unet, generator.vae
    encoded = vae.encode(x)
    mixed = encoded.sample(noise) * vae.scaling_factor * gamma + noise_map * (1.0 - gamma)
    bias = unet.conv_in.bias
    assert bias is not None
    timestep = torch.full((len(x),), TIMESTEP, device=x.device, dtype=torch.int64)
    epsilon = functional_call(
        unet,
        {
            "conv_in.weight": torch.lerp(pretrained[0], unet.conv_in.weight, gamma),
            "conv_in.bias": torch.lerp(pretrained[1], bias, gamma),
        },
        (mixed, timestep, encoder_hidden_states.expand(len(x), -1, -1)),
        {"return_dict": False},
    )[0]
    x0 = (mixed - (1.0 - generator.alpha_bar) ** 0.5 * epsilon.float()) / generator.alpha_bar**0.5
    weaker = tuple(gamma * activation for activation in encoded.activations)
    return vae.decode(x0 / vae.scaling_factor, weaker).float()
