"""Units of a model grouped by the size of their maps, with constants that centre them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from rosetta_steps.maps.resampling import Size, meeting_size
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.runtime.errors import UserError

# Bytes of maps that are read, centred and projected together, as float32: enough for an efficient
# product, and little beside the memory of a worker.
RUN_BYTES = {"cpu": 32 * 2**20, "cuda": 2**29}


@dataclass(frozen=True)
class Units:
    """Some layers of a model, grouped by the size of their maps.

    Attributes:
        layers: Names of the layers of each size, in the order of the forward pass.
        channels: Number of channels of each layer.
        offset: Constants near the mean of each unit, for each layer (channel) float32.
    """

    layers: dict[Size, list[str]]
    channels: dict[str, int]
    offset: dict[str, np.ndarray]

    def count(self, size: Size) -> int:
        """Return the number of units of a map size."""
        return sum(self.channels[layer] for layer in self.layers[size])

    def held_values(self, others: Iterable[Size]) -> int:
        """Return the number of values of one image over all sizes where the units meet others."""
        return held_values({size: self.count(size) for size in self.layers}, others)

    def centre(self, size: Size) -> np.ndarray:
        """Return the constants subtracted from the units of a map size, (unit) float64."""
        return np.concatenate([self.offset[layer] for layer in self.layers[size]]).astype(float)


def held_values(units: Mapping[Size, int], others: Iterable[Size]) -> int:
    """Return the number of values of one image over all sizes where units meet others.

    Args:
        units: Number of units of each map size.
        others: Map sizes of the other model.
    """
    meetings = {size: {meeting_size(size, other) for other in others} for size in units}
    return sum(n * sum(y * x for y, x in meetings[size]) for size, n in units.items())


def holds_first(first: Units, second: Units, larger: bool) -> bool:
    """Whether the first of two models is the one to hold in memory.

    Held maps are read from memory repeatedly, so on a CPU holding fewer is faster. On a GPU the
    number of products matters: the more values are held, the fewer and larger the products are.

    Args:
        first: Units of the first model.
        second: Units of the second model.
        larger: Whether to hold the model with more values to hold.
    """
    of_first, of_second = first.held_values(second.layers), second.held_values(first.layers)
    return of_first >= of_second if larger else of_first <= of_second


def units_of(source: MapSource, moments: xr.DataTree, layers: Iterable[str] | None = None) -> Units:
    """Group the units of a model by map size.

    Args:
        source: Source of the maps.
        moments: Moments of the model.
        layers: Names of the layers to include; None includes all.

    Raises:
        ValueError: The source has fewer channels than the moments, because it holds only maps of
            matched units.
    """
    chosen = source.layers if layers is None else [n for n in source.layers if n in set(layers)]
    by_size: dict[Size, list[str]] = {}
    for name in chosen:
        by_size.setdefault(source.sizes[name], []).append(name)
    offset = {
        name: moments[name].to_dataset()["mean_map"].mean(("y", "x")).values.astype(np.float32)
        for name in chosen
    }
    for name, values in offset.items():
        if len(values) != source.channels[name]:
            raise UserError(
                f"{source.attrs['model']}, layer {name}: {source.channels[name]} channels of "
                f"{len(values)}. Maps of matched units cannot be correlated: give its stream "
                "(.json)."
            )
    return Units(by_size, {name: source.channels[name] for name in chosen}, offset)


@dataclass(frozen=True)
class Run:
    """Units of one map size that are read together.

    Attributes:
        size: Height and width of their maps.
        parts: Pairs of a layer and a slice of its channels.
        rows: Positions of the units among all units of this map size.
    """

    size: Size
    parts: list[tuple[str, slice]]
    rows: slice


def runs_of(units: Units, images: int, run_bytes: float, together: Sequence[int] = ()) -> list[Run]:
    """Cut the units of each map size into runs.

    Args:
        units: Units of the model.
        images: Number of images in a block.
        run_bytes: Approximate bytes of the maps of a run, as float32.
        together: Number of channels that are read together, for each layer in order; runs are cut
            at multiples of it.
    """
    runs: list[Run] = []
    per_read = dict(zip(units.channels, together, strict=False))
    for size, layers in units.layers.items():
        most = int(max(1, run_bytes // (4 * images * size[0] * size[1])))
        parts: list[tuple[str, slice]] = []
        row, begin = 0, 0
        for layer in layers:
            channels, step = units.channels[layer], per_read.get(layer, 1)
            step = max(step, most // step * step)
            for start in range(0, channels, step):
                stop = min(start + step, channels)
                if parts and row - begin + stop - start > most:
                    runs.append(Run(size, parts, slice(begin, row)))
                    parts, begin = [], row
                parts.append((layer, slice(start, stop)))
                row += stop - start
        runs.append(Run(size, parts, slice(begin, row)))
    return runs


def places(units: Units) -> dict[Size, np.ndarray]:
    """Return the positions of the units of each map size among all units of the tile.

    Units are in the order of the forward pass.
    """
    starts = dict(
        zip(units.channels, np.cumsum([0, *units.channels.values()]).tolist(), strict=False)
    )
    return {
        size: np.concatenate([starts[n] + np.arange(units.channels[n]) for n in layers])
        for size, layers in units.layers.items()
    }
