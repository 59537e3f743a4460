"""Sums over images from which the moments of units follow (maps.statistics)."""

from collections.abc import Mapping
from functools import partial

import numba
import numpy as np
import torch
import xarray as xr

from rosetta_steps.maps.resampling import Size
from rosetta_steps.maps.statistics import NEIGHBOURS

# Number of values of the sums that are added at a time, and of the maps that are converted at a
# time: on a CPU as many as its cache holds, on a GPU enough to occupy it.
CACHED_VALUES, CONVERTED_VALUES = 512, {"cpu": 1 << 17, "cuda": 1 << 25}

# Names of the sums that are added, and of all tensors.
ADDED = ("nonfinite", "map_sum", "product_sum")
TENSORS = ("minimum", "maximum", *ADDED)


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
            activation: Maps (image, channel, y, x), float16 or float32; of no image, too.
            first: Channel number of the first channel in `activation`.
        """
        if not len(activation):
            return
        self.count += len(activation) if first == 0 else 0
        maps = torch.as_tensor(activation).to(self.device)
        of_channel = max(1, maps[:, :1].numel())
        whole = (self.map_sum, self.product_sum, self.minimum, self.maximum, self.nonfinite)
        sums = tuple(total[first : first + maps.shape[1]] for total in whole)
        # A few channels are converted at a time, so that the wider values stay in the cache.
        step = max(1, CONVERTED_VALUES[self.device.type] // of_channel)
        for start in range(0, maps.shape[1], step):
            part = slice(start, start + step)
            of_part = [total[part] for total in sums]
            exact = torch.float32 if self.device.type == "cpu" else torch.float64
            values = maps[:, part].to(exact).contiguous()
            _add_extremes(values, *of_part[2:])
            if self.device.type == "cpu":
                _add(values.numpy(), *(total.numpy() for total in of_part[:2]))
            else:
                _add_on_a_device(values, *of_part[:2])

    def merge(self, other: "MomentSums") -> None:
        """Add the sums of another object, over other images of the same layer."""
        self.merge_arrays(other.arrays())

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the sums by name, to be written to a file; they may share memory."""
        tensors = {name: getattr(self, name).cpu().numpy() for name in TENSORS}
        return tensors | {"count": np.array(self.count)}

    def merge_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Add the arrays of another object, over other images of the same layer."""
        other = {name: torch.from_numpy(arrays[name]).to(self.device) for name in TENSORS}
        self.count += int(arrays["count"])
        self.minimum = torch.fmin(self.minimum, other["minimum"])
        self.maximum = torch.fmax(self.maximum, other["maximum"])
        for name in ADDED:
            getattr(self, name).add_(other[name])

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


def _add_extremes(maps, minimum, maximum, nonfinite):
    low, high = maps.amin((0, 2, 3)), maps.amax((0, 2, 3))
    # Either is not finite where any value is not. A GPU would have to be waited for to ask it.
    if maps.is_cuda or not (low.isfinite() & high.isfinite()).all():
        nothing = maps.isnan()
        low = maps.masked_fill(nothing, torch.inf).amin((0, 2, 3))
        high = maps.masked_fill(nothing, -torch.inf).amax((0, 2, 3))
        nonfinite += (~maps.isfinite()).sum((0, 2, 3))
    minimum.copy_(torch.fmin(minimum, low))
    maximum.copy_(torch.fmax(maximum, high))


@numba.njit(nogil=True, cache=True)
def _add(maps, map_sum, product_sum):
    # Compiled, because array operations would read and write the sums once for each product and
    # image. Here a part of the sums stays in the cache while all images are added to it, four at a
    # time, in their order.
    images, channels, height, width = maps.shape
    row = map_sum.shape[1] // height
    flat = np.zeros((-(-images // 4) * 4, map_sum.shape[1] + row + 1))
    for channel in range(channels):
        for image in range(images):
            for y in range(height):
                flat[image, y * row : y * row + width] = maps[image, channel, y]
        for start in range(0, map_sum.shape[1], CACHED_VALUES):
            part = slice(start, min(start + CACHED_VALUES, map_sum.shape[1]))
            for image in range(0, images, 4):
                a, b = flat[image, part], flat[image + 1, part]
                c, d = flat[image + 2, part], flat[image + 3, part]
                total = map_sum[channel, part]
                for i in range(len(a)):
                    total[i] = total[i] + a[i] + b[i] + c[i] + d[i]
                for index in range(len(NEIGHBOURS)):
                    step = NEIGHBOURS[index][0] * row + NEIGHBOURS[index][1]
                    there = slice(part.start + step, part.stop + step)
                    to_a, to_b = flat[image, there], flat[image + 1, there]
                    to_c, to_d = flat[image + 2, there], flat[image + 3, there]
                    total = product_sum[channel, index, part]
                    for i in range(len(a)):
                        of_two = total[i] + a[i] * to_a[i] + b[i] * to_b[i]
                        total[i] = of_two + c[i] * to_c[i] + d[i] * to_d[i]


def _add_on_a_device(maps, map_sum, product_sum):
    height, width = maps.shape[2:]
    row, values = width + 1, map_sum.shape[1]
    padded = maps.new_zeros(*maps.shape[:2], values + row + 1)
    padded[..., :values].unflatten(-1, (height, row))[..., :width] = maps
    here = padded[..., :values]
    map_sum += here.sum(0)
    for index, (down, right) in enumerate(NEIGHBOURS):
        step = down * row + right
        product_sum[:, index] += (here * padded[..., step : step + values]).sum(0)
