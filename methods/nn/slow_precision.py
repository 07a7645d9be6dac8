"""Whether a processor computes in a precision at all, or only imitates it."""

from __future__ import annotations

import torch


def slow_precision(device: torch.device, precision: torch.dtype) -> str | None:
    """One line for the user where ``precision`` costs time rather than saves it; ``None`` where it does not.

    A processor without instructions for bfloat16 (AVX-512 or AMX) or float16 takes about ten times as long for a
    convolution as in float32. Graphics processors are not looked at.
    """
    if device.type != "cpu" or precision == torch.float32:
        return None
    ops = torch.ops.mkldnn
    known = {torch.bfloat16: ops._is_mkldnn_bf16_supported, torch.float16: ops._is_mkldnn_fp16_supported}
    if precision not in known or known[precision]():
        return None
    name = str(precision).removeprefix("torch.")
    return f"this processor has no instructions for {name}, which takes up to ten times as long as float32: use float32"
