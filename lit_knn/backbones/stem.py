"""The first convolution of a network, with a gradient of the image that is not slow on a CPU."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 4  # channels that leave most lanes of a vector unit idle in PyTorch's own gradient
LARGE = 4  # side of a kernel, below which the zeros that fill it up to whole strides cost what is gained


def is_stem(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether a layer is PyTorch's convolution of a few channels, with a large kernel, that skips pixels."""
    return (
        type(layer) is nn.Conv2d
        and layer.in_channels <= FEW
        and min(layer.kernel_size) >= LARGE
        and layer.stride[0] == layer.stride[1] > 1
        and (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
        and not isinstance(layer.padding, str)
    )


def convolve(stem: nn.Conv2d, image: Tensor) -> Tensor:
    """Return what a stem gives, to the bit; its gradient of the image is another formula's, rounded otherwise.

    A gradient of a few channels that skips pixels keeps a CPU a fifth as busy as other convolutions do: an eighth of a
    ResNet-18's forward and backward pass at 224 px. Where weights have a gradient, on other devices and under autocast
    it is PyTorch's.

    Args:
        stem: As `is_stem` has it.
        image: ``(N, channels, H, W)``.
    """
    frozen = not any(parameter.requires_grad for parameter in stem.parameters())
    plain = image.device.type == "cpu" and image.dtype == stem.weight.dtype and not torch.is_autocast_enabled("cpu")
    if frozen and plain and image.requires_grad and torch.is_grad_enabled():
        convolved: Tensor = _Convolution.apply(image, stem.weight, stem.bias, stem.stride[0], stem.padding)
        return convolved
    return F.conv2d(image, stem.weight, stem.bias, stem.stride, stem.padding)


class _Convolution(torch.autograd.Function):
    """A convolution of stride s is one of stride 1 over s² as many channels, each with every s-th pixel."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.stride, ctx.padding = image.shape[2:], stride, padding
        return F.conv2d(image, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (weight,), stride = gradients, ctx.saved_tensors, ctx.stride
        lead = [-padding % stride for padding in ctx.padding]  # zeros before the kernel, so that it starts at a block
        before = [(padding + zeros) // stride for padding, zeros in zip(ctx.padding, lead, strict=True)]  # in blocks
        taps = [-(-(side + zeros) // stride) for side, zeros in zip(weight.shape[2:], lead, strict=True)]
        behind = [t * stride - z - side for t, z, side in zip(taps, lead, weight.shape[2:], strict=True)]
        weight = F.pad(weight, (lead[1], behind[1], lead[0], behind[0]))
        weight = F.pixel_unshuffle(weight, stride)  # (out, channels · s², taps, taps)
        blocks = F.conv_transpose2d(gradient, weight.contiguous(memory_format=torch.channels_last))
        wanted = [-(-side // stride) for side in ctx.size]
        cut = [w + b - side for w, b, side in zip(wanted, before, blocks.shape[2:], strict=True)]  # or added, where > 0
        blocks = F.pad(blocks, (-before[1], cut[1], -before[0], cut[0]))
        slope = F.pixel_shuffle(blocks, stride)[..., : ctx.size[0], : ctx.size[1]]
        return slope, None, None, None, None
