"""The units of a model as the correlation sees them: by the size of their maps, near centred."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from rosetta_steps.maps.resampling import Size, meeting_size
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.runtime.errors import UserError

# Maps read, centred and projected together, as float32: enough for a large product, and little
# beside the memory of a worker.
RUN_BYTES = {"cpu": 32 * 2**20, "cuda": 2**29}


@dataclass(frozen=True)
class Units:
    """Some layers of a model, grouped by the size of their maps.

    Attributes:
        layers: Names of the layers of each size, in the order of the forward pass.
        channels: Of each layer.
        offset: Constant near the mean of each unit of a layer, (channel) float32.
    """

    layers: dict[Size, list[str]]
    channels: dict[str, int]
    offset: dict[str, np.ndarray]

    def count(self, size: Size) -> int:
        """Units of a size."""
        return sum(self.channels[layer] for layer in self.layers[size])

    def held_values(self, others: Iterable[Size]) -> int:
        """Values of one image at every size where the units meet others'."""
        return held_values({size: self.count(size) for size in self.layers}, others)

    def centre(self, size: Size) -> np.ndarray:
        """Constants subtracted from the units of a size, (unit) float64."""
        return np.concatenate([self.offset[layer] for layer in self.layers[size]]).astype(float)


def held_values(units: Mapping[Size, int], others: Iterable[Size]) -> int:
    """Values of one image at every size where some units meet others.

    Args:
        units: How many there are of each size.
        others: Sizes of the others.
    """
    meetings = {size: {meeting_size(size, other) for other in others} for size in units}
    return sum(n * sum(y * x for y, x in meetings[size]) for size, n in units.items())


def holds_first(first: Units, second: Units, larger: bool) -> bool:
    """Whether the first of two models is held.

    Held maps are read from memory again and again: on a processor the fewer the better. On a GPU
    it is the number of products that counts, and the more is held, the fewer and larger they are.

    Args:
        first: Units of the one model; second: of the other.
        larger: Hold what has more values to hold.
    """
    of_first, of_second = first.held_values(second.layers), second.held_values(first.layers)
    return of_first >= of_second if larger else of_first <= of_second


def units_of(source: MapSource, moments: xr.DataTree, layers: Iterable[str] | None = None) -> Units:
    """Group layers of a model by size.

    Args:
        source: Of the maps.
        moments: Of the model.
        layers: Names; None: all.

    Raises:
        ValueError: The moments have other channels than the source, which then holds maps of
            matched units only.
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
    """Units of one size that are read together.

    Attributes:
        size: (y, x) of their maps.
        parts: Layers and channels (a slice) that they are.
        rows: Which units of the size they are, in its order.
    """

    size: Size
    parts: list[tuple[str, slice]]
    rows: slice


def runs_of(units: Units, images: int, run_bytes: float, together: Sequence[int] = ()) -> list[Run]:
    """Cut the units of each size into runs.

    Args:
        units: Of the model.
        images: In a block.
        run_bytes: About those of a run's maps, as float32.
        together: Channels that are coded together in each layer, in order; cuts fall between.
    """
    runs: list[Run] = []
    grain = dict(zip(units.channels, together, strict=False))
    for size, layers in units.layers.items():
        most = int(max(1, run_bytes // (4 * images * size[0] * size[1])))
        parts: list[tuple[str, slice]] = []
        row, begin = 0, 0
        for layer in layers:
            channels, step = units.channels[layer], grain.get(layer, 1)
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
    """Positions of the units of each size among all units, in the order of the forward pass."""
    starts = dict(
        zip(units.channels, np.cumsum([0, *units.channels.values()]).tolist(), strict=False)
    )
    return {
        size: np.concatenate([starts[n] + np.arange(units.channels[n]) for n in layers])
        for size, layers in units.layers.items()
    }
