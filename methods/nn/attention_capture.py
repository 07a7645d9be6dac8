"""Reading cross-attention maps and block outputs of a diffusers UNet as values.

:func:`make_readable` gives every attention layer a processor that knows nothing but the layer's name. Who wants maps
passes a recorder down with the call (``cross_attention_kwargs``), so that nothing of a call stays on a module, calls do
not see each other's maps, and layers that nobody asked for keep their fused kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

_STAGES = ("down_blocks", "mid_block", "up_blocks")


class Reading(NamedTuple):
    """What one call of the UNet gave.

    Attributes:
        output: (B, C, H, W) in the network's dtype; ``None`` where the call stopped at the last thing asked for.
        maps: softmax probabilities by layer, (B, heads, positions, tokens) float32.
        features: block outputs by block name, (B, C, h, w).
    """

    output: Tensor | None
    maps: dict[str, Tensor]
    features: dict[str, Tensor]


def make_readable(unet: UNet2DConditionModel) -> None:
    """Give every attention layer of ``unet`` a processor whose probabilities :func:`read` can ask for."""
    for name, module in unet.named_modules():
        if isinstance(module, Attention):
            module.set_processor(_NamedProcessor(name))  # type: ignore[arg-type]


def cross_attention_layers(unet: nn.Module) -> list[str]:
    """Names of the cross-attention layers (``attn2``) in the order in which a forward call meets them."""
    found = [name for name, module in unet.named_modules() if isinstance(module, Attention) and name.endswith("attn2")]
    return sorted(found, key=lambda name: _STAGES.index(name.split(".")[0]))


def read(
    unet: UNet2DConditionModel,
    sample: Tensor,
    timestep: int,
    encoder_hidden_states: Tensor,
    layers: Sequence[str],
    features: Sequence[str] = (),
    stop_early: bool = False,
    added: dict[str, Tensor] | None = None,
) -> Reading:
    """One call of a UNet that :func:`make_readable` has seen.

    Gradients flow through maps and features where the caller has enabled them.

    Args:
        sample: (B, C, H, W).
        encoder_hidden_states: (B, tokens, D).
        layers: attention layers whose maps are wanted.
        features: modules (``mid_block``, ``up_blocks.2``) whose outputs are wanted.
        stop_early: leave the network as soon as everything wanted is there; the output is then ``None``.
        added: the added conditions of SDXL.

    Raises:
        AttributeError: a block that the UNet does not have.
        KeyError: a layer that the UNet does not have.
    """
    recorder = _Recorder(frozenset(layers), len(layers) + len(features), stop_early)
    handles = []
    output: Tensor | None = None
    try:
        for name in features:
            handles.append(unet.get_submodule(name).register_forward_hook(recorder.hook(name)))
        output = unet(
            sample,
            timestep,
            encoder_hidden_states,
            cross_attention_kwargs={"recorder": recorder},
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
    except _AllThere:
        pass
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in layers if name not in recorder.maps]
    if missing:
        raise KeyError(f"{missing[0]} is no attention layer that this UNet runs")
    return Reading(output, recorder.maps, recorder.features)


def map_size(positions: int, height: int, width: int) -> tuple[int, int]:
    """(h, w) of a layer with so many positions, for a sample of height x width.

    Every level of the UNet halves both sides, rounding up.

    Raises:
        ValueError: no level has so many positions.
    """
    while height * width > positions:
        height, width = (height + 1) // 2, (width + 1) // 2
    if height * width != positions:
        raise ValueError(f"no level of the UNet has {positions} positions")
    return height, width


class _AllThere(Exception):
    """Leaves the network once everything asked for has been recorded."""


class _Recorder:
    def __init__(self, layers: frozenset[str], expected: int, stop_early: bool) -> None:
        self.layers, self.expected, self.stop_early = layers, expected, stop_early
        self.maps: dict[str, Tensor] = {}
        self.features: dict[str, Tensor] = {}

    def add_map(self, name: str, probabilities: Tensor) -> None:
        self.maps[name] = probabilities
        self._leave_if_done()

    def hook(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            self.features[name] = output[0] if isinstance(output, tuple) else output
            self._leave_if_done()

        return keep

    def _leave_if_done(self) -> None:
        if self.stop_early and len(self.maps) + len(self.features) == self.expected:
            raise _AllThere


class _NamedProcessor(AttnProcessor2_0):
    """Fused attention, but explicit softmax where the call's recorder wants this layer."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        recorder: _Recorder | None = None,
    ) -> Tensor:
        if recorder is None or self.name not in recorder.layers:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        query, key, value = heads(attn.to_q(hidden_states)), heads(attn.to_k(context)), heads(attn.to_v(context))
        scores = query.float() @ key.float().transpose(-1, -2) * attn.scale
        if attention_mask is not None:
            raise ValueError("maps of masked attention cannot be read")
        probabilities = torch.softmax(scores, dim=-1)
        recorder.add_map(self.name, probabilities)
        output = (probabilities.to(value.dtype) @ value).transpose(1, 2).flatten(-2)
        return attn.to_out[1](attn.to_out[0](output)) / attn.rescale_output_factor
