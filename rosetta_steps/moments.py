"""Moments: what the mean and variance of a unit at any size follow from.

With U the bilinear upsampling to a larger size, mean(U b) = <U^T 1, mean map> / positions and
the mean of (U b)^2 is the sum of (U^T U) times the mean products of neighbouring positions, because
U^T U is tridiagonal along each axis. So five product maps give both for partners that do not
exist yet. Sums are additive over images and kept in float64.

INPUTS   activations, or a stream of them
OUTPUTS  X.zarr: a group a layer
"""

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from math import prod
from pathlib import Path

import numba
import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from rosetta_steps.devices import lease
from rosetta_steps.errors import run
from rosetta_steps.resampling import Size, upsampling
from rosetta_steps.splits import PREFIX, refuse_splits, split_of
from rosetta_steps.storage.manifests import Provenance, add_identity_argument, ingredients
from rosetta_steps.stores import image_blocks, write_dataset
from rosetta_steps.streams import Source, is_stream, open_maps

# Offsets (y, x) of the neighbour in each product map, the other half follows by symmetry.
NEIGHBOURS = ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1))
# Values of the sums, and of the maps, that stay in a processor's cache; a GPU needs enough of them
# to be occupied.
CACHED_VALUES, CONVERTED_VALUES = 512, {"cpu": 1 << 17, "cuda": 1 << 25}
# Of a pass over the images: the sums of its layers, and the maps of a block of images.
SUM_BYTES, BLOCK_BYTES = 1.5e9, 0.2e9
# On a GPU the same as shares of the memory that is free.
SUM_SHARE, BLOCK_SHARE = 0.4, 0.05
# Of the maps that a thread adds before it takes others.
PART_BYTES = {"cpu": 8e6, "cuda": 1e9}


class MomentSums:
    """Sums over images of one layer, channel by channel.

    Args:
        channels: Of the layer.
        size: (y, x) of its maps.
        device: Where they are kept and added to.
    """

    def __init__(self, channels: int, size: Size, device: str = "cpu"):
        self.shape, self.count = (channels, size), 0
        self.device = torch.device(device)
        exact = {"dtype": torch.float64, "device": self.device}
        self.minimum = torch.full((channels,), torch.inf, **exact)
        self.maximum = torch.full((channels,), -torch.inf, **exact)
        self.nonfinite = torch.zeros(channels, dtype=torch.int64, device=self.device)
        # Maps as rows one behind the other, with a zero between them: a neighbour is a fixed step
        # away, and one beyond the border adds nothing.
        self.map_sum = torch.zeros(channels, size[0] * (size[1] + 1), **exact)
        self.product_sum = torch.zeros(channels, len(NEIGHBOURS), self.map_sum.shape[1], **exact)

    def add(self, activation: np.ndarray | torch.Tensor, first: int = 0) -> None:
        """Add images, or some channels of them; images are counted with the first channel.

        Args:
            activation: (image, channel, y, x) float16 or float32.
            first: Which channel the first of them is.
        """
        self.count += len(activation) if first == 0 else 0
        maps = torch.as_tensor(activation).to(self.device)
        of_channel = max(1, maps[:, :1].numel())
        whole = (self.map_sum, self.product_sum, self.minimum, self.maximum, self.nonfinite)
        sums = tuple(total[first : first + maps.shape[1]] for total in whole)
        # A few channels at a time: wider maps of all would have to be fetched from memory again.
        step = max(1, CONVERTED_VALUES[self.device.type] // of_channel)
        for start in range(0, maps.shape[1], step):
            part = slice(start, start + step)
            if self.device.type == "cpu":
                narrow = maps[:, part].float().contiguous().numpy()
                _add(narrow, *(total[part].numpy() for total in sums))
            else:
                _add_on_a_device(maps[:, part].double(), *(total[part] for total in sums))

    def merge(self, other: "MomentSums") -> None:
        """Add the images of another."""
        self.count += other.count
        self.minimum = torch.fmin(self.minimum, other.minimum)
        self.maximum = torch.fmax(self.maximum, other.maximum)
        self.nonfinite += other.nonfinite
        self.map_sum += other.map_sum
        self.product_sum += other.product_sum

    def dataset(self) -> xr.Dataset:
        """The moments of the images added so far, as stored."""
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
    # image; here a part of them stays in the processor's cache while all images pass.
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
                for x in range(width):  # by column, where no value waits for the one before it
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
    """Mean and variance (eq. 1, divided by n m^2) of a layer's units upsampled to a size.

    Args:
        moments: Of the layer, as `MomentSums.dataset` gives them.
        size: (y, x), at least the layer's own.

    Returns:
        Mean and variance, (channel) float64 each. NaN for a unit that never varies or that has
        values which are not finite.
    """
    mean_map = moments["mean_map"].values
    products = moments["mean_product"].values
    own = mean_map.shape[1:]
    up_y, up_x = (upsampling(own[axis], size[axis]) for axis in (0, 1))
    positions = size[0] * size[1]
    mean = (mean_map @ up_x.sum(0)) @ up_y.sum(0) / positions
    gram_y, gram_x = up_y.T @ up_y, up_x.T @ up_x
    # The variance is the mean square about the mean: shift the products before they are summed,
    # so that nothing cancels for units far from zero.
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


def measure(
    maps: Path, output: Path, splits: int = 1, threads: int = 1, identity: str | None = None
) -> None:
    """Read maps and write their moments.

    A store is read once. A stream runs once for as many layers as memory has room for the sums of.

    Args:
        maps: Store of activations, or stream.
        output: Store to write.
        splits: Parts of the images (splits.split_of) whose moments are kept as well, with a
            dimension `split` and names that begin with split_; 1: none.
        threads: At work on channels at the same time.
        identity: As Provenance has it.

    Raises:
        StoreError: The activations are damaged.
        ValueError: There are fewer images than the splits need.
    """
    store = open_maps(maps)
    refuse_splits(store.images, splits)
    split, layers = split_of(store.images, splits), {}
    most, of_block = budgets(store.device)
    groups = list(_groups(store, splits, most))
    if store.device != "cpu":
        threads = 1  # they would take turns
    title = f"moments of {store.attrs['model']}"
    with (
        tqdm(total=store.images * len(groups), desc=title, unit="image") as bar,
        ThreadPoolExecutor(threads) as pool,
    ):
        for group in groups:
            store.tap(group)
            sums = {
                name: [
                    MomentSums(store.channels[name], store.sizes[name], store.device)
                    for _ in range(splits)
                ]
                for name in group
            }

            def add(block: slice, layer: str, channels: slice, sums=sums) -> None:
                found = store.read(layer, block, channels)
                for number, of_split in enumerate(sums[layer]):
                    own = found if splits == 1 else found[split[block] == number]
                    of_split.add(own, channels.start)

            together = store.images_together(of_block)
            blocks = image_blocks(store.images, together)
            parts = [part for name in group for part in _parts(store, name, together)]
            store.prepare(blocks[0])
            for block, following in zip_longest(blocks, blocks[1:]):
                if following is not None:
                    store.prepare(following)
                list(pool.map(add, [block] * len(parts), *zip(*parts, strict=True)))
                bar.update(block.stop - block.start)
            for name in group:
                layers[f"/{name}"] = _together(sums[name]).assign_attrs(store.layer_attrs(name))
    root = xr.Dataset(attrs=store.attrs)
    model, sample_set = store.attrs["model"], store.state["sample_set"]
    provenance = Provenance("moments", [model], sample_set, ingredients([maps]), identity)
    write_dataset(xr.DataTree.from_dict({"/": root, **layers}), output, provenance)


def budgets(device: str) -> tuple[float, float]:
    """Bytes that the sums of a pass, and the maps of a block of images, may take on a device."""
    if device == "cpu":
        return SUM_BYTES, BLOCK_BYTES
    free = torch.cuda.mem_get_info()[0]
    return SUM_SHARE * free, BLOCK_SHARE * free


def bytes_of_sums(shape: tuple[int, ...], splits: int) -> int:
    """Bytes of the sums of a layer, (channel, y, x), of all splits."""
    return 8 * (1 + len(NEIGHBOURS)) * splits * prod(shape)


def _groups(store: Source, splits: int, most: float) -> Iterator[list[str]]:
    """Runs of layers whose sums fit into memory together; every one makes a pass."""
    group, size = [], 0
    for name in store.layers:
        own = bytes_of_sums((store.channels[name], *store.sizes[name]), splits)
        if group and size + own > most:
            yield group
            group, size = [], 0
        group, size = [*group, name], size + own
    yield group


def _parts(store: Source, layer: str, images: int) -> Iterator[tuple[str, slice]]:
    """A layer and some of its channels, of which threads have about as much to do."""
    channels, grain = store.channels[layer], store.grain(layer)
    of_grain = grain * images * store.dtype.itemsize * prod(store.sizes[layer])
    step = grain * int(max(1, PART_BYTES[store.device] // of_grain))
    for start in range(0, channels, step):
        yield layer, slice(start, min(start + step, channels))


def _together(sums: list[MomentSums]) -> xr.Dataset:
    if len(sums) == 1:
        return sums[0].dataset()
    parts = xr.concat([of_part.dataset() for of_part in sums], "split", data_vars="all")
    total = MomentSums(*sums[0].shape, sums[0].device)
    for of_part in sums:
        total.merge(of_part)
    return total.dataset().assign({f"{PREFIX}{name}": parts[name] for name in parts})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Moments of every unit of a store.")
    parser.add_argument(
        "--activations", type=Path, required=True, help="X.zarr to read, or X.json to run"
    )
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    parser.add_argument(
        "--splits", type=int, default=1, help="parts of the images kept apart, default %(default)s"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    add_identity_argument(parser)
    a = parser.parse_args()
    if is_stream(a.activations):
        lease()
    torch.set_num_threads(a.threads)
    measure(a.activations, a.output, a.splits, a.threads, a.identity)


if __name__ == "__main__":
    run(main)
