"""Moments of units: sums over images that give mean and variance at any upsampled size.

Let U be the bilinear upsampling to a larger size. Then mean(U b) = <U^T 1, mean map> / positions,
and the mean of (U b)^2 is the sum of (U^T U) times the mean products of neighbouring positions,
because U^T U is tridiagonal along each axis. So five product maps give both at any larger size,
also for models that are added later. Sums are additive over images and kept in float64.
"""

from functools import partial
from math import prod

import numba
import numpy as np
import torch
import xarray as xr

from rosetta_steps.maps.resampling import Size, size_of, upsampling

# Offsets (y, x) of the neighbour in each product map; the opposite offsets follow by symmetry.
NEIGHBOURS = ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1))
# Number of values of the sums that are added at a time, and of the maps that are converted at a
# time: on a CPU as many as its cache holds, on a GPU enough to occupy it.
CACHED_VALUES, CONVERTED_VALUES = 512, {"cpu": 1 << 17, "cuda": 1 << 25}


class MomentSums:
    """Sums over the images of one layer, for each channel.

    Args:
        channels: Number of channels of the layer.
        size: Height and width of its maps.
        device: Device on which the sums are kept and computed.
    """

    def __init__(self, channels: int, size: Size, device: str | torch.device = "cpu"):
        self.shape, self.count = (channels, size), 0
        self.device = torch.device(device)
        exact = partial(torch.zeros, dtype=torch.float64, device=self.device)
        self.minimum = exact(channels).fill_(torch.inf)
        self.maximum = exact(channels).fill_(-torch.inf)
        self.nonfinite = torch.zeros(channels, dtype=torch.int64, device=self.device)
        # The rows of a map are concatenated with a zero between them. So a neighbour is at a fixed
        # step, and a neighbour beyond the border adds zero.
        self.map_sum = exact(channels, size[0] * (size[1] + 1))
        self.product_sum = exact(channels, len(NEIGHBOURS), self.map_sum.shape[1])

    def add(self, activation: np.ndarray | torch.Tensor, first: int = 0) -> None:
        """Add a batch of images, or some channels of it.

        Images are counted when channel 0 is added.

        Args:
            activation: Maps (image, channel, y, x), float16 or float32.
            first: Channel number of the first channel in `activation`.
        """
        self.count += len(activation) if first == 0 else 0
        maps = torch.as_tensor(activation).to(self.device)
        of_channel = max(1, maps[:, :1].numel())
        whole = (self.map_sum, self.product_sum, self.minimum, self.maximum, self.nonfinite)
        sums = tuple(total[first : first + maps.shape[1]] for total in whole)
        # A few channels are converted at a time, so that the wider values stay in the cache.
        step = max(1, CONVERTED_VALUES[self.device.type] // of_channel)
        for start in range(0, maps.shape[1], step):
            part = slice(start, start + step)
            if self.device.type == "cpu":
                narrow = maps[:, part].float().contiguous().numpy()
                _add(narrow, *(total[part].numpy() for total in sums))
            else:
                _add_on_a_device(maps[:, part].double(), *(total[part] for total in sums))

    def merge(self, other: "MomentSums") -> None:
        """Add the sums of another object, over other images of the same layer."""
        self.count += other.count
        self.minimum = torch.fmin(self.minimum, other.minimum)
        self.maximum = torch.fmax(self.maximum, other.maximum)
        self.nonfinite += other.nonfinite
        self.map_sum += other.map_sum
        self.product_sum += other.product_sum

    def dataset(self) -> xr.Dataset:
        """Return the moments of the images added so far, in the form that is stored."""
        return xr.Dataset(
            {
                "count": ((), self.count, {"long_name": "images"}),
                "minimum": ("channel", self.minimum.cpu().numpy()),
                "maximum": ("channel", self.maximum.cpu().numpy()),
                "nonfinite": (
                    "channel",
                    self.nonfinite.cpu().numpy(),
                    {"long_name": "values not finite"},
                ),
                "mean_map": (("channel", "y", "x"), self._mean(self.map_sum)),
                "mean_product": (
                    ("channel", "neighbour", "y", "x"),
                    self._mean(self.product_sum),
                    {"long_name": "mean over images of the map times its neighbour"},
                ),
            },
            {
                "neighbour_y": ("neighbour", [down for down, _ in NEIGHBOURS]),
                "neighbour_x": ("neighbour", [right for _, right in NEIGHBOURS]),
            },
        )

    def _mean(self, sums: torch.Tensor) -> np.ndarray:
        y, x = self.shape[1]
        return (sums.view(*sums.shape[:-1], y, x + 1)[..., :-1] / self.count).cpu().numpy()


@numba.njit(nogil=True, cache=True)
def _add(maps, map_sum, product_sum, minimum, maximum, nonfinite):
    # Compiled, because array operations would read and write the sums once for each product and
    # image. Here a part of the sums stays in the cache while all images are added to it.
    images, channels, height, width = maps.shape
    row = map_sum.shape[1] // height
    flat = np.zeros((images, map_sum.shape[1] + row + 1))
    low, high, bad = np.empty(width), np.empty(width), np.empty(width, np.int64)
    for channel in range(channels):
        low[:], high[:], bad[:] = np.inf, -np.inf, 0
        for image in range(images):
            for y in range(height):
                values = maps[image, channel, y]
                flat[image, y * row : y * row + width] = values
                for x in range(width):  # by column, so that iterations are independent
                    low[x] = values[x] if values[x] < low[x] else low[x]
                    high[x] = values[x] if values[x] > high[x] else high[x]
                    bad[x] += 0 if values[x] - values[x] == 0 else 1
        minimum[channel] = min(minimum[channel], low.min())
        maximum[channel] = max(maximum[channel], high.max())
        nonfinite[channel] += bad.sum()
        for start in range(0, map_sum.shape[1], CACHED_VALUES):
            part = slice(start, min(start + CACHED_VALUES, map_sum.shape[1]))
            for image in range(images):
                here = flat[image, part]
                total = map_sum[channel, part]
                for i in range(len(here)):
                    total[i] += here[i]
                for index in range(len(NEIGHBOURS)):
                    step = NEIGHBOURS[index][0] * row + NEIGHBOURS[index][1]
                    there = flat[image, part.start + step : part.stop + step]
                    total = product_sum[channel, index, part]
                    for i in range(len(here)):
                        total[i] += here[i] * there[i]


def _add_on_a_device(maps, map_sum, product_sum, minimum, maximum, nonfinite):
    height, width = maps.shape[2:]
    row, values = width + 1, map_sum.shape[1]
    padded = maps.new_zeros(*maps.shape[:2], values + row + 1)
    padded[..., :values].unflatten(-1, (height, row))[..., :width] = maps
    here = padded[..., :values]
    map_sum += here.sum(0)
    for index, (down, right) in enumerate(NEIGHBOURS):
        step = down * row + right
        product_sum[:, index] += (here * padded[..., step : step + values]).sum(0)
    nothing = maps.isnan()
    minimum.copy_(torch.fmin(minimum, maps.masked_fill(nothing, torch.inf).amin((0, 2, 3))))
    maximum.copy_(torch.fmax(maximum, maps.masked_fill(nothing, -torch.inf).amax((0, 2, 3))))
    nonfinite += (~maps.isfinite()).sum((0, 2, 3))


def _pair(y: int, x: int, down: int, right: int):
    here = (slice(0, y - down), slice(max(0, -right), x - max(0, right)))
    there = (slice(down, y), slice(max(0, right), x - max(0, -right)))
    return here, there


def mean_and_variance(moments: xr.Dataset, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of a layer's units upsampled to a size (eq. 1, divided by n m^2).

    Args:
        moments: Moments of the layer, as `MomentSums.dataset` returns them.
        size: Height and width, neither smaller than that of the layer's maps.

    Returns:
        Mean and variance, (channel) float64 each; NaN for a unit that never varies or has values
        that are not finite.
    """
    mean_map = moments["mean_map"].values
    products = moments["mean_product"].values
    own = size_of(mean_map)
    up_y, up_x = (upsampling(own[axis], size[axis]) for axis in (0, 1))
    positions = size[0] * size[1]
    mean = (mean_map @ up_x.sum(0)) @ up_y.sum(0) / positions
    gram_y, gram_x = up_y.T @ up_y, up_x.T @ up_x
    # The variance is the mean square about the mean. Products are centred before they are summed,
    # so that no digits cancel for units far from zero.
    square = np.zeros(len(mean))
    centred = mean_map - mean[:, None, None]
    for index, (down, right) in enumerate(NEIGHBOURS):
        here, there = _pair(*own, down, right)
        rows, columns = np.arange(own[0] - down), np.arange(own[1])[here[1]]
        weight = np.outer(gram_y[rows, rows + down], gram_x[columns, columns + right])
        covariance = products[(slice(None), index, *here)] - (
            mean_map[(slice(None), *here)] * mean_map[(slice(None), *there)]
        )
        shifted = covariance + centred[(slice(None), *here)] * centred[(slice(None), *there)]
        twice = 1 if (down, right) == (0, 0) else 2
        square += twice * np.einsum("cyx,yx->c", shifted, weight)
    useless = (moments["minimum"].values == moments["maximum"].values) | (
        moments["nonfinite"].values > 0
    )
    mean = np.where(useless, np.nan, mean)
    return mean, np.where(useless, np.nan, square / positions)


def mean_square(maps: np.ndarray, size: Size) -> np.ndarray:
    """Return the mean over positions of squared maps, upsampled to a size.

    Args:
        maps: (unit, y, x) float64.
        size: Height and width, at least those of the maps.

    Returns:
        (unit) float64.
    """
    own = size_of(maps)
    gram_y, gram_x = (upsampling(o, s).T @ upsampling(o, s) for o, s in zip(own, size, strict=True))
    return (gram_y @ maps @ gram_x * maps).sum((1, 2)) / (size[0] * size[1])


def bytes_of_sums(shape: tuple[int, ...], splits: int) -> int:
    """Return the bytes of the sums of a layer of shape (channel, y, x), over all splits."""
    return 8 * (1 + len(NEIGHBOURS)) * splits * prod(shape)
