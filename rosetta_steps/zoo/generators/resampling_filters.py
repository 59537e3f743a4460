"""Resampling of maps with finite impulse response filters.

A filter has the shape (tap), applied to both axes in turn, or (tap y, tap x). It is symmetric, so
correlation and convolution are the same.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# Number of channels in a depthwise convolution on a CPU, which vectorises over them.
LANES = 8
# Values in a block of maps: on a CPU 4 MiB stay in the cache; on a GPU large blocks are faster.
VALUES_ON_CPU, VALUES_ELSEWHERE = 2**20, 2**26


def upsample(x: Tensor, kernel: Tensor, factor: int, before: int, after: int) -> Tensor:
    """Insert zeros after each sample, pad, and filter with gain factor**2.

    Args:
        x: Maps (image, channel, y, x).
        kernel: Filter of sum 1.
        factor: Upsampling factor.
        before: Number of zeros above and on the left; negative numbers crop.
        after: Number of zeros below and on the right, after the factor - 1 zeros of the last
            sample; negative numbers crop.

    Returns:
        Maps (image, channel, y, x), with size * factor + before + after - taps + 1 pixels along
        each axis.
    """
    # A transposed convolution needs no inserted zeros. Its output extends taps - 1 beyond the
    # samples, and is cropped to the requested padding.
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
    """Filter, then keep every factor-th sample, beginning with the first.

    Args:
        x: Maps (image, channel, y, x).
        kernel: Filter of any sum.
        factor: Downsampling factor; 1 only filters.
        padding: Number of zeros on each side.

    Returns:
        Maps (image, channel, y, x), with (size + 2 * padding - taps) // factor + 1 pixels along
        each axis.
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
    """Apply a function that treats all maps the same to a few maps at a time.

    On a CPU, blocks that fit into the cache are several times faster. On any device, temporary
    values take only the memory of one block.

    Args:
        function: Function from (1, map, y, x) to (1, map, y, x).
        x: Maps (image, channel, y, x).
        growth: Number of temporary values of the function for each input value.
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
    # Returns `value` for the axes that this pass filters and `idle` for the others.
    return [value if taps > 1 else idle for taps in part.shape]


def _of_each_channel(part: Tensor, x: Tensor) -> Tensor:
    return part.to(x.dtype).expand(x.shape[1], 1, *part.shape)
