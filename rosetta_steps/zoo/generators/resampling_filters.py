"""Resampling maps with finite impulse response filters.

A filter is (tap), for both axes one after the other, or (tap y, tap x). It is symmetric, so
correlation and convolution are the same.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# A convolution of channels one by one works on so many of them at once on a CPU.
LANES = 8
# Of a block of maps: 4 MiB stay in the cache of a CPU, a GPU wants few and large ones.
VALUES_ON_CPU, VALUES_ELSEWHERE = 2**20, 2**26


def upsample(x: Tensor, kernel: Tensor, factor: int, before: int, after: int) -> Tensor:
    """Put zeros after each sample, pad, and filter with gain factor**2.

    Args:
        x: (image, channel, y, x).
        kernel: Of sum 1.
        factor: Samples for one.
        before: Zeros above and on the left; negative crops.
        after: Zeros below and on the right, behind the factor - 1 of the last sample; negative
            crops.

    Returns:
        (image, channel, y, x), of size * factor + before + after - taps + 1 along each axis.
    """
    # A transposed convolution adds up what each sample gives, without the zeros. It reaches
    # taps - 1 beyond the first sample and the last, and is cropped to what the padding asks for.
    taps = kernel.shape[-1]
    crop = (taps - 1 - before, taps - factor - after)
    both = max(min(crop), 0)
    for part in _passes(kernel):
        gain = factor ** sum(taps > 1 for taps in part.shape)
        x = F.conv_transpose2d(
            x,
            _of_each_channel(part * gain, x),
            stride=_along(part, factor, 1),
            padding=_along(part, both, 0),
            groups=x.shape[1],
        )
    rest = [both - pixels for pixels in crop]
    return F.pad(x, rest * 2) if any(rest) else x


def downsample(x: Tensor, kernel: Tensor, factor: int, padding: int = 0) -> Tensor:
    """Filter, and keep every factor-th sample from the first on.

    Args:
        x: (image, channel, y, x).
        kernel: Of any sum.
        factor: Samples of which one is kept; 1 filters only.
        padding: Zeros on each side.

    Returns:
        (image, channel, y, x), of (size + 2 * padding - taps) // factor + 1 along each axis.
    """
    for part in _passes(kernel):
        x = F.conv2d(
            x,
            _of_each_channel(part, x),
            stride=_along(part, factor, 1),
            padding=_along(part, padding, 0),
            groups=x.shape[1],
        )
    return x


def in_blocks(function: Callable[[Tensor], Tensor], x: Tensor, growth: int = 1) -> Tensor:
    """Apply what treats every map alike to a few maps at a time.

    On a CPU, blocks that fit the cache are several times faster; anywhere, the memory for what
    lies between input and output is that of one block.

    Args:
        function: (1, map, y, x) to (1, map, y, x).
        x: (image, channel, y, x).
        growth: Values the function holds for one of its input.
    """
    images, channels, height, width = x.shape
    values = VALUES_ON_CPU if x.device.type == "cpu" else VALUES_ELSEWHERE
    together = max(values // (height * width * growth) // LANES, 1) * LANES
    blocks = x.reshape(1, images * channels, height, width).split(together, 1)
    done = torch.cat([function(block) for block in blocks], 1)
    return done.reshape(images, channels, *done.shape[2:])


def _passes(kernel: Tensor) -> list[Tensor]:
    return [kernel[:, None], kernel[None, :]] if kernel.ndim == 1 else [kernel]


def _along(part: Tensor, value: int, idle: int) -> list[int]:
    # The value for the axes on which this pass works.
    return [value if taps > 1 else idle for taps in part.shape]


def _of_each_channel(part: Tensor, x: Tensor) -> Tensor:
    return part.to(x.dtype).expand(x.shape[1], 1, *part.shape)
