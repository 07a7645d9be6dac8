"""The VAE with encoder-to-decoder skip connections, its activations passed as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class EncodedImages(NamedTuple):
    """What the encoder says about a batch of images.

    Attributes:
        mean: (B, C, h, w) float32, mean of the latent's posterior.
        logvar: (B, C, h, w) float32, its log-variance, not clamped.
        activations: the input of each down block, finest first (a0 .. a3 in the paper's four-block VAE).
    """

    mean: Tensor
    logvar: Tensor
    activations: tuple[Tensor, ...]

    def sample(self, noise: Tensor) -> Tensor:
        """``mean + std * noise`` with the log-variance clamped to [-30, 20], float32."""
        return self.mean + torch.exp(0.5 * self.logvar.clamp(-30.0, 20.0)) * noise


def skip_channels(block_out_channels: Sequence[int]) -> list[tuple[int, int]]:
    """(input, output) channels of skip_conv_1, 2, ...: coarsest activation first, as the decoder meets them.

    For channels (c0, c1, c2, c3): c2 -> c3, c1 -> c3, c0 -> c2, c0 -> c1.
    """
    channels = list(block_out_channels)
    inputs = [channels[0], *channels[:-1]][::-1]
    outputs = [channels[-1], *channels[:0:-1]]
    return list(zip(inputs, outputs, strict=True))


class SkipVAE(nn.Module):
    """AutoencoderKL plus one bias-free 1x1 convolution per decoder block (section 3.2 of the paper).

    Parameter names are the official ones (``encoder.*``, ``decoder.*``, ``decoder.skip_conv_1.weight``,
    ``quant_conv.*``). The module keeps no activation of a call: :meth:`encode` returns them and :meth:`decode` takes
    them, so one module can serve many threads, CUDA graphs and checkpointed training.

    Args:
        config: the diffusers AutoencoderKL configuration.

    Attributes:
        checkpointing: set it for training with less memory: only the blocks' inputs are kept for the backward pass.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        vae = cast(AutoencoderKL, AutoencoderKL.from_config(dict(config)))
        self.config = dict(config)
        self.scaling_factor = float(vae.config["scaling_factor"])
        self.latent_channels = int(vae.config["latent_channels"])
        self.encoder, self.decoder = vae.encoder, vae.decoder
        self.quant_conv, self.post_quant_conv = vae.quant_conv, vae.post_quant_conv
        pairs = skip_channels(vae.config["block_out_channels"])
        self.skip_count = len(pairs)
        self.checkpointing = False
        for number, (inputs, outputs) in enumerate(pairs, start=1):
            skip = nn.Conv2d(inputs, outputs, 1, bias=False)
            nn.init.constant_(skip.weight, 1e-5)
            self.decoder.add_module(f"skip_conv_{number}", skip)

    def skip_conv(self, number: int) -> nn.Conv2d:
        """skip_conv_1 stands before the decoder's first up block."""
        return cast(nn.Conv2d, self.decoder.get_submodule(f"skip_conv_{number}"))

    @property
    def downscale(self) -> int:
        """Pixels per latent pixel along one side; image sides must be multiples of it."""
        return 2 ** (self.skip_count - 1)

    def _run(self, block: nn.Module, *inputs: Tensor | None) -> Tensor:
        """One block; in training with ``checkpointing`` its inside is computed again in the backward pass."""
        if self.checkpointing and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(block, *inputs, use_reentrant=False))
        return block(*inputs)

    def encode(self, x: Tensor) -> EncodedImages:
        """(B, 3, H, W) in the model's range -> posterior (B, C, H / 8, W / 8) and the down blocks' inputs."""
        encoder = self.encoder
        h = encoder.conv_in(x.to(encoder.conv_in.weight.dtype))
        activations = []
        for block in encoder.down_blocks:
            activations.append(h)
            h = self._run(block, h)
        h = self._run(encoder.mid_block, h)
        h = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(h)))
        if self.quant_conv is not None:
            # errors here are amplified 15 to 80 times: never in a half precision that only autocast asks for
            with torch.autocast(h.device.type, enabled=False):
                h = self.quant_conv(h.to(self.quant_conv.weight.dtype))
        mean, logvar = h.float().chunk(2, dim=1)
        return EncodedImages(mean, logvar, tuple(activations))

    def decode(self, latents: Tensor, activations: Sequence[Tensor]) -> Tensor:
        """(B, C, h, w) latents and the encoder's activations -> (B, 3, H, W) in the network's dtype, not clamped.

        Before up block i the (n - 1 - i)-th activation is added through skip_conv_{i + 1}.
        """
        decoder = self.decoder
        h = latents
        if self.post_quant_conv is not None:
            with torch.autocast(h.device.type, enabled=False):
                h = self.post_quant_conv(h.to(self.post_quant_conv.weight.dtype))
        h = self._run(decoder.mid_block, decoder.conv_in(h.to(decoder.conv_in.weight.dtype)), None)
        for number, (block, skip) in enumerate(zip(decoder.up_blocks, reversed(activations), strict=True), start=1):
            h = self._run(block, h + self.skip_conv(number)(skip), None)
        return decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(h)))
