"""The published way to match two models, re-implemented plainly: what the engine is held against.

Two passes over the images run both models: one for mean and standard deviation of every unit (eq.
1), one for the correlations (eq. 2). For each two layers both maps are upsampled to the larger size
and, standardised, multiplied by einsum in float32. Best buddies (eq. 3) are chosen at the end.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from rosetta_steps.maps.resampling import Size, comparison_size, size_of
from rosetta_steps.maps.running import Stream, run_into
from rosetta_steps.matching.best_buddies import best_buddies
from rosetta_steps.matching.nearest import nearest
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.weights import weights_file

IMAGES_AT_ONCE = 4
OF_ALL_IMAGES = ("forward passes", "statistics", "correlation")  # what grows with the images
ONCE = ("loading", "best buddies")

Maps = Mapping[str, Tensor]  # of each layer (image, channel, y, x)
MapsOf = Callable[[slice], Maps]  # of a block of images
Statistics = dict[tuple[str, Size], tuple[Tensor, Tensor]]  # mean and deviation of each unit


def upsampled(maps: Tensor, size: Size) -> Tensor:
    """Return maps upsampled bilinearly to a size, or as they are if they have it."""
    return maps if size_of(maps) == size else interpolate(maps, size, mode="bilinear")


def upsampled_pairs(a: Maps, b: Maps) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Yield each layer of a with each of b, by name, and both maps at the larger size."""
    for layer_a, maps_a in a.items():
        for layer_b, maps_b in b.items():
            size = comparison_size(size_of(maps_a), size_of(maps_b))
            yield layer_a, layer_b, upsampled(maps_a, size), upsampled(maps_b, size)


def product_of(left: Tensor, right: Tensor) -> Tensor:
    """Return sums over images and positions of the products of units, (unit, unit)."""
    return torch.einsum("iayx,ibyx->ab", left, right)


class Sums:
    """Sums of one model's units at the sizes at which they are compared, for mean and deviation."""

    def __init__(self) -> None:
        self.totals: dict[tuple[str, Size], list] = {}

    def add(self, maps: Maps, others: Maps) -> None:
        """Add a block of images, upsampled to every size at which the other model's maps need it.

        Args:
            maps: Of the model.
            others: Of the other model, for their sizes.
        """
        for layer, own in maps.items():
            sizes = {comparison_size(size_of(own), size_of(other)) for other in others.values()}
            for size in sorted(sizes):
                large = upsampled(own, size)
                total = self.totals.setdefault((layer, size), [0, 0.0, 0.0])
                total[0] += len(large) * size[0] * size[1]
                total[1] += large.sum((0, 2, 3), dtype=torch.float64)
                total[2] += large.square().sum((0, 2, 3), dtype=torch.float64)

    def finish(self) -> Statistics:
        """Return mean and standard deviation (eq. 1), (unit, 1, 1) float32 each."""
        found = {}
        for key, (count, total, squares) in self.totals.items():
            mean = total / count
            deviation = ((squares - total * mean) / (count - 1)).clamp(min=0).sqrt()
            found[key] = mean.float()[:, None, None], deviation.float()[:, None, None]
        return found


class Clock:
    """Seconds of each part of a computation."""

    def __init__(self, wait: Callable[[], None] = lambda: None):
        self.seconds = dict.fromkeys((*OF_ALL_IMAGES, *ONCE), 0.0)
        self.wait = wait

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Add what the body takes to a part, the device's work included."""
        begin = time.perf_counter()
        yield
        self.wait()
        self.seconds[part] += time.perf_counter() - begin


def correlate_upsampled(a: MapsOf, b: MapsOf, images: int, clock: Clock) -> np.ndarray:
    """Return the correlation of each unit of a with each of b, in two passes over the images.

    Args:
        a: Function that runs the first model on a block of images.
        b: Function that runs the second model.
        images: Number of images.
        clock: Takes the seconds of the parts.

    Returns:
        (unit_a, unit_b) float32; NaN for a unit that never varies.
    """

    def batches() -> Iterator[tuple[Maps, Maps]]:
        for block in image_blocks(images, IMAGES_AT_ONCE):
            with clock.of("forward passes"):
                both = a(block), b(block)
            yield both

    sums_a, sums_b = Sums(), Sums()
    for maps_a, maps_b in batches():
        with clock.of("statistics"):
            sums_a.add(maps_a, maps_b)
            sums_b.add(maps_b, maps_a)
    with clock.of("statistics"):
        of_a, of_b = sums_a.finish(), sums_b.finish()
    totals: dict[str, dict[str, Tensor]] = {}
    for maps_a, maps_b in batches():
        with clock.of("correlation"):
            for layer_a, layer_b, left, right in upsampled_pairs(maps_a, maps_b):
                size = size_of(left)
                (mean_a, deviation_a), (mean_b, deviation_b) = (
                    of_a[layer_a, size],
                    of_b[layer_b, size],
                )
                left, right = (left - mean_a) / deviation_a, (right - mean_b) / deviation_b
                degrees = images * size[0] * size[1] - 1
                row = totals.setdefault(layer_a, {})
                row[layer_b] = row.get(layer_b, 0) + product_of(left, right) / degrees
    rows = [torch.cat(list(row.values()), 1) for row in totals.values()]
    return torch.cat(rows).cpu().numpy()


def published_way(a: MapsOf, b: MapsOf, images: int, neighbours: int, clock: Clock) -> pd.DataFrame:
    """Return the best buddies of two models in the published way.

    Args:
        a: Function that runs the first model on a block of images.
        b: Function that runs the second model.
        images: Number of images.
        neighbours: K.
        clock: Takes the seconds of the parts.

    Returns:
        As matching.best_buddies.best_buddies.
    """
    table = correlate_upsampled(a, b, images, clock)
    with clock.of("best buddies"):
        return best_buddies(nearest(table, neighbours), nearest(table.T, neighbours))


def maps_of(stream: Stream, device: str) -> MapsOf:
    """Return a function that runs a model on a block of its images, with maps in float32."""
    name, samples = stream.attrs["model"], open_dataset(Path(stream.attrs["samples"]))
    entry = find_entry(name, stream.state["zoo"])
    model = load(name, entry, weights_file(name, entry), device)

    def run(block: slice) -> Maps:
        maps = {
            layer: torch.empty(
                block.stop - block.start, stream.channels[layer], *size, device=device
            )
            for layer, size in stream.sizes.items()
        }
        run_into(maps, model, cast(str, stream.attrs["role"]), samples, block)
        return maps

    return run


def measure(
    a: Stream,
    b: Stream,
    *,
    images: int,
    neighbours: int,
    device: str,
    wait: Callable[[], None] = lambda: None,
) -> pd.Series:
    """Return the seconds of the published way on few images, for all images of a sample set.

    What grows with the images is scaled to their number; loading and best buddies count once.

    Args:
        a: The first model on its images.
        b: The second model on the same images.
        images: How many to run.
        neighbours: K.
        device: "cpu" or "cuda".
        wait: Function that waits for the device.
    """
    images, clock = min(images, a.images), Clock(wait)
    with clock.of("loading"):
        maps_a, maps_b = maps_of(a, device), maps_of(b, device)
    for run in (maps_a, maps_b):  # the first pass takes longer, and would be scaled with the others
        run(slice(0, min(images, IMAGES_AT_ONCE)))
    published_way(maps_a, maps_b, images, neighbours, clock)
    seconds = pd.Series(clock.seconds)
    seconds[list(OF_ALL_IMAGES)] *= a.images / images
    return seconds
