"""The kinds of operation of a graph model, each over torch; pictures lie as TensorFlow has them, (B, H, W, C).

Sources: the definitions of TensorFlow's operations (``tf.raw_ops``) and TensorFlow.js' kernels of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.nn.tfjs.attributes import Attributes

Apply: TypeAlias = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
LARGEST = 1 << 28
"""Numbers in one tensor at most: what a file claims beyond that is no detector's picture (1 GiB in float32)."""


@dataclass(frozen=True)
class Operation:
    """One kind of operation.

    Attributes:
        inputs: how many it takes; ``None`` where its attribute ``N`` says how many there are before the constants.
        constants: how many of the last of them must be constants: filters, axes, sizes.
        build: makes the function of the other inputs from the node's attributes and the constants. Raises ValueError
            for what it does not know.
        outputs: how many it gives.
        typed: whether its attribute ``T`` is the type of all its inputs that are no constants.
    """

    inputs: int | None
    constants: int
    build: Callable[[Attributes, Sequence[Tensor]], Apply]
    outputs: int = 1
    typed: bool = True


def _one(function: Callable[[Tensor], Tensor]) -> Operation:
    return Operation(1, 0, lambda attributes, constants: lambda given: (function(given[0]),))


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return Operation(2, 0, lambda attributes, constants: lambda given: (function(given[0], given[1]),))


def _convolution(attributes: Attributes, constants: Sequence[Tensor], *, fused: bool, depthwise: bool) -> Apply:
    kernel, bias = constants[0], None
    activation = _FUSED[("BiasAdd",)]
    if kernel.ndim != 4 or kernel.dtype != torch.float32 or not kernel.numel():
        raise ValueError(f"a filter of {kernel.dtype} and shape {tuple(kernel.shape)}")
    strides, same = _strides(attributes), _is_same(attributes)
    attributes.must_be(dilations=(1, 1, 1, 1))
    attributes.ignore("use_cudnn_on_gpu")
    if fused:
        steps = attributes.texts("fused_ops")
        if steps not in _FUSED:
            raise ValueError(f"fused_ops {', '.join(steps) or 'nothing'}, which is not known")
        attributes.must_be(num_args=1)
        attributes.ignore("epsilon")  # of batch normalisation, which is none of the steps
        bias, activation = constants[1], _FUSED[steps]
    high, wide, entering, leaving = kernel.shape
    if depthwise:
        kernel, groups = kernel.permute(2, 3, 0, 1).reshape(entering * leaving, 1, high, wide), entering
    else:
        kernel, groups = kernel.permute(3, 2, 0, 1), 1
    if bias is not None and (bias.shape != kernel.shape[:1] or bias.dtype != kernel.dtype):
        raise ValueError(f"{kernel.shape[0]} filters with a bias of {bias.dtype} and shape {tuple(bias.shape)}")
    kernel = kernel.contiguous(memory_format=torch.channels_last)

    def apply(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if given[0].shape[-1] != entering:
            raise ValueError(f"{given[0].shape[-1]} channels meet a filter of {entering}")
        padded = _padded(given[0], (high, wide), strides, same, 0.0)
        return (activation(F.conv2d(padded, kernel, bias, strides, groups=groups).permute(0, 2, 3, 1)),)

    return apply


def _max_pool(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    size = attributes.numbers("ksize")
    if len(size) != 4 or size[0] != 1 or size[3] != 1 or min(size) < 1:
        raise ValueError(f"ksize {size}")
    window, strides, same = (size[1], size[2]), _strides(attributes), _is_same(attributes)

    def apply(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        padded = _padded(given[0], window, strides, same, -math.inf)
        return (F.max_pool2d(padded, window, strides).permute(0, 2, 3, 1),)

    return apply


def _padded(images: Tensor, window: Sequence[int], strides: Sequence[int], same: bool, value: float) -> Tensor:
    """(B, C, H, W), with the margins that TensorFlow's padding SAME has: the odd pixel comes last."""
    if images.ndim != 4:
        raise ValueError(f"a picture of {images.ndim} axes")
    planes = images.permute(0, 3, 1, 2)
    if not same:
        return planes
    margins: list[int] = []
    for side, step, length in zip(window, strides, planes.shape[2:], strict=True):
        more = max((-(-length // step) - 1) * step + side - length, 0)
        margins = [more // 2, more - more // 2, *margins]
    _bounded(planes.shape[0], planes.shape[1], planes.shape[2] + sum(margins[2:]), planes.shape[3] + sum(margins[:2]))
    return F.pad(planes, margins, value=value) if any(margins) else planes


def _resize_bilinear(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    """Without half-pixel centres: pixel ``i`` of the result lies at ``i * before / after``."""
    attributes.must_be(align_corners=False, half_pixel_centers=False)
    size = _whole(constants[0], 2)
    if min(size) < 1:
        raise ValueError(f"a picture of {size[0]} x {size[1]} pixels")

    def apply(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        (images,) = given
        if images.ndim != 4:
            raise ValueError(f"a picture of {images.ndim} axes")
        for axis, after in enumerate(size, start=1):
            before = images.shape[axis]
            _bounded(*images.shape[:axis], after, *images.shape[axis + 1 :])
            place = torch.arange(after, device=images.device, dtype=torch.float32) * (before / after)
            low = place.floor().long().clamp(max=before - 1)
            high = (low + 1).clamp(max=before - 1)
            part = (place - low).reshape(-1, *[1] * (images.ndim - axis - 1))
            first, second = images.index_select(axis, low), images.index_select(axis, high)
            images = first + (second - first) * part
        return (images,)

    return apply


def _mean(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    axes, keep = _whole(constants[0]), attributes.truth("keep_dims")
    if not axes:
        raise ValueError("a mean over no axis")
    attributes.ignore("Tidx")
    return lambda given: (given[0].mean(axes, keepdim=keep),)


def _concat(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    (axis,) = _whole(constants[0], 1)
    attributes.ignore("Tidx")
    return lambda given: (torch.cat(list(given), axis),)


def _reshape(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    shape = _whole(constants[0])
    attributes.ignore("Tshape")
    return lambda given: (given[0].reshape(shape),)


def _expand_dims(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    (axis,) = _whole(constants[0], 1)
    attributes.ignore("Tdim")
    return lambda given: (given[0].unsqueeze(axis),)


def _cast(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    before, after = attributes.dtype("SrcT"), attributes.dtype("DstT")
    attributes.must_be(Truncate=False)

    def apply(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if given[0].dtype != before:
            raise ValueError(f"SrcT {before}, and its input is {given[0].dtype}")
        return (given[0].to(after),)

    return apply


def _strided_slice(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    attributes.must_be(ellipsis_mask=0, new_axis_mask=0, shrink_axis_mask=0)
    open_begin, open_end = attributes.number("begin_mask"), attributes.number("end_mask")
    attributes.ignore("Index")
    begins, ends, steps = (_whole(each) for each in constants)
    if not len(begins) == len(ends) == len(steps) or min(steps, default=1) < 1:
        raise ValueError(f"it goes from {begins} to {ends} by {steps}")
    parts = tuple(
        slice(None if open_begin >> at & 1 else begin, None if open_end >> at & 1 else end, step)
        for at, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True))
    )
    return lambda given: (given[0][parts],)


def _top_k(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    """The largest along the last axis and their places; of equal ones the first comes first."""
    (count,) = _whole(constants[0], 1)
    attributes.must_be(sorted=True)

    def apply(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if not 0 <= count <= given[0].shape[-1]:
            raise ValueError(f"the {count} largest of {given[0].shape[-1]}")
        values, places = given[0].sort(dim=-1, descending=True, stable=True)
        return values[..., :count], places[..., :count].int()

    return apply


def _gather(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    attributes.must_be(batch_dims=0)
    attributes.ignore("Tindices", "Taxis", "Tparams")
    (axis,) = _whole(constants[0], 1)

    def apply(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        values, places = given
        at = axis % max(values.ndim, 1)
        _bounded(*values.shape[:at], places.numel(), *values.shape[at + 1 :])
        found = values.index_select(at, places.reshape(-1))
        return (found.reshape(*values.shape[:at], *places.shape, *values.shape[at + 1 :]),)

    return apply


def _equal(attributes: Attributes, constants: Sequence[Tensor]) -> Apply:
    attributes.must_be(incompatible_shape_error=True)
    return lambda given: (torch.eq(given[0], given[1]),)


def _strides(attributes: Attributes) -> tuple[int, int]:
    said = attributes.numbers("strides")
    if len(said) != 4 or said[0] != 1 or said[3] != 1 or min(said) < 1:
        raise ValueError(f"strides {said}")
    return said[1], said[2]


def _is_same(attributes: Attributes) -> bool:
    attributes.must_be(data_format="NHWC", explicit_paddings=())
    padding = attributes.text("padding")
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"padding {padding!r}, and only SAME and VALID are read")
    return padding == "SAME"


def _whole(constant: Tensor, count: int | None = None) -> tuple[int, ...]:
    """The whole numbers of a constant, ``count`` of them. Raises ValueError for others."""
    if constant.dtype != torch.int32 or constant.ndim > 1:
        raise ValueError(f"a constant of {constant.dtype} with {constant.ndim} axes stands where whole numbers belong")
    found = tuple(int(each) for each in constant.reshape(-1).tolist())
    if count is not None and len(found) != count:
        raise ValueError(f"{len(found)} numbers stand where {count} belong")
    return found


def _bounded(*shape: int) -> None:
    if math.prod(shape) > LARGEST:
        raise ValueError(f"a tensor of {' x '.join(map(str, shape))} numbers")


_FUSED: Mapping[tuple[str, ...], Callable[[Tensor], Tensor]] = {
    ("BiasAdd",): lambda given: given,
    ("BiasAdd", "Relu"): F.relu,
    ("BiasAdd", "Relu6"): F.relu6,
}

OPERATIONS: Mapping[str, Operation] = {
    "Add": _two(torch.add),
    "Cast": Operation(1, 0, _cast, typed=False),
    "ConcatV2": Operation(None, 1, _concat),
    "Conv2D": Operation(2, 1, lambda said, given: _convolution(said, given, fused=False, depthwise=False)),
    "DepthwiseConv2dNative": Operation(
        2, 1, lambda said, given: _convolution(said, given, fused=False, depthwise=True)
    ),
    "Equal": Operation(2, 0, _equal),
    "ExpandDims": Operation(2, 1, _expand_dims),
    "FloorDiv": _two(lambda a, b: torch.div(a, b, rounding_mode="floor")),
    "FloorMod": _two(torch.remainder),
    "FusedDepthwiseConv2dNative": Operation(
        3, 2, lambda said, given: _convolution(said, given, fused=True, depthwise=True)
    ),
    "GatherV2": Operation(3, 1, _gather, typed=False),
    "Identity": _one(lambda given: given),
    "MaxPool": Operation(1, 0, _max_pool),
    "Mean": Operation(2, 1, _mean),
    "Mul": _two(torch.mul),
    "Relu": _one(F.relu),
    "Relu6": _one(F.relu6),
    "Reshape": Operation(2, 1, _reshape),
    "ResizeBilinear": Operation(2, 1, _resize_bilinear),
    "Sigmoid": _one(torch.sigmoid),
    "StridedSlice": Operation(4, 3, _strided_slice),
    "Sub": _two(torch.sub),
    "TopKV2": Operation(2, 1, _top_k, outputs=2),
    "_FusedConv2D": Operation(3, 2, lambda said, given: _convolution(said, given, fused=True, depthwise=False)),
}
"""By TensorFlow's names, besides constants and placeholders."""
