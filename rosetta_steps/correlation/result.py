"""The stores that a correlation writes: the whole table, or nearest partners of every unit."""

from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr

from rosetta_steps.correlation.tiles import Tile
from rosetta_steps.correlation.totals import load
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.maps.splits import split_of
from rosetta_steps.matching.nearest import Nearest, nearest, nearest_of_all
from rosetta_steps.storage.datasets import whole_store, write_dataset, write_template
from rosetta_steps.storage.files import whole_file, writing
from rosetta_steps.storage.manifests import Provenance

CHUNK = 1024  # units of either model in a chunk of the table


class WholeTable:
    """Result with every correlation.

    Args:
        The store has `correlation` (unit_a, unit_b) and, with splits, `split_correlation` (split,
        unit_a, unit_b) and `split_of_image` (image).

        Args:
            stores: Sources of the maps of both models.
            splits: Number of splits of the images; 1 means none.
    """

    def __init__(self, stores: tuple[MapSource, MapSource], splits: int):
        self.stores, self.splits = stores, splits

    def keep(self, file: Path, table: np.ndarray, of_splits: list[np.ndarray], tile: Tile) -> None:
        """Write the part of a tile that the result needs to a file, atomically."""
        arrays: dict[str, Any] = {"table": table}
        if self.splits > 1:
            arrays["splits"] = np.stack(of_splits)
        with whole_file(file) as temporary, temporary.open("wb") as target:
            np.savez(target, **arrays)

    def write(
        self,
        tiles: list[Tile],
        files: list[Path],
        output: Path,
        attrs: dict,
        provenance: Provenance,
    ) -> None:
        """Write the store from the files of all tiles."""
        shape = tuple(sum(store.channels.values()) for store in self.stores)
        chunks = tuple(min(units, CHUNK) for units in shape)
        empty = dask.array.full(shape, np.nan, dtype=np.float32, chunks=chunks)
        dimensions, named = ("unit_a", "unit_b"), {"long_name": "Pearson correlation"}
        variables: dict[str, tuple] = {"correlation": (dimensions, empty, named)}
        encoding = {"correlation": {"chunks": chunks}}
        if self.splits > 1:
            named = {"long_name": "Pearson correlation over the images of a split"}
            several = dask.array.stack([empty] * self.splits)
            variables["split_correlation"] = (("split", *dimensions), several, named)
            named = {"long_name": "split that an image is in"}
            split = split_of(attrs["images"], self.splits)
            variables["split_of_image"] = ("image", split, named)
            encoding["split_correlation"] = {"chunks": (1, *chunks)}
        attrs = attrs | models_of(self.stores)
        template = xr.Dataset(variables, coordinates(self.stores), attrs)
        varies = [np.zeros(units, bool) for units in shape]
        with whole_store(output, provenance) as folder:
            write_template(template, folder, encoding)
            store = zarr.open_group(folder)
            for tile, file in zip(tiles, files, strict=True):
                places = spans(self.stores, tile)
                kept = load(file)
                with writing(output):
                    values = _array(store, "correlation")[places] = kept["table"]
                    if self.splits > 1:
                        _array(store, "split_correlation")[:, *places] = kept["splits"]
                for axis, (found, part) in enumerate(zip(varies, places, strict=True)):
                    found[part] |= ~np.isnan(values).all(1 - axis)
            store.attrs.update(never_vary(varies))


def _array(store: zarr.Group, name: str) -> zarr.Array:
    array = store[name]
    assert isinstance(array, zarr.Array), name
    return array


class NearestOnly:
    """Result with the K nearest partners of every unit, in both directions.

    Args:
        The store has `partner_a` and `correlation_a` (unit_a, neighbour), and the same for b.

        Args:
            stores: Sources of the maps of both models.
            neighbours: Number of partners K.
    """

    def __init__(self, stores: tuple[MapSource, MapSource], neighbours: int):
        self.stores, self.neighbours = stores, neighbours

    def keep(self, file: Path, table: np.ndarray, of_splits: list[np.ndarray], tile: Tile) -> None:
        """Write the part of a tile that the result needs to a file, atomically."""
        arrays: dict[str, Any] = {}
        places = spans(self.stores, tile)
        if self.stores[0].attrs["model"] == self.stores[1].attrs["model"]:
            table = table.copy()
            rows, columns = (np.arange(part.start, part.stop) for part in places)
            table[rows[:, None] == columns] = np.nan  # no unit is its own neighbour
        others = places[::-1]
        for side, other, values in zip("ab", others, (table, table.T), strict=True):
            found = nearest(values, self.neighbours, other.start)
            arrays |= {f"partner_{side}": found.partner, f"correlation_{side}": found.correlation}
        with whole_file(file) as temporary, temporary.open("wb") as target:
            np.savez(target, **arrays)

    def write(
        self,
        tiles: list[Tile],
        files: list[Path],
        output: Path,
        attrs: dict,
        provenance: Provenance,
    ) -> None:
        """Write the store from the files of all tiles."""
        variables: dict[str, tuple] = {}
        varies: list[np.ndarray] = []
        for axis, side in enumerate("ab"):
            parts: dict[int, list[Nearest]] = {}  # by the first unit of this side
            for tile, file in zip(tiles, files, strict=True):
                kept = load(file)
                found = Nearest(kept[f"partner_{side}"], kept[f"correlation_{side}"])
                parts.setdefault(spans(self.stores, tile)[axis].start, []).append(found)
            merged = [nearest_of_all(parts[first], self.neighbours) for first in sorted(parts)]
            partner = np.concatenate([of_units.partner for of_units in merged])
            correlation = np.concatenate([of_units.correlation for of_units in merged])
            dimensions = (f"unit_{side}", "neighbour")
            named = {"long_name": "position of the partner; -1: none"}
            variables[f"partner_{side}"] = (dimensions, partner, named)
            named = {"long_name": "Pearson correlation"}
            variables[f"correlation_{side}"] = (dimensions, correlation, named)
            varies.append(np.asarray((partner >= 0).any(1)))
        attrs = attrs | models_of(self.stores) | never_vary(varies)
        write_dataset(xr.Dataset(variables, coordinates(self.stores), attrs), output, provenance)


def spans(stores: tuple[MapSource, MapSource], tile: Tile) -> tuple[slice, slice]:
    """Return the positions of a tile's units among all units of both models."""

    def span(store: MapSource, layers: list[str]) -> slice:
        names = list(store.channels)
        before = sum(store.channels[name] for name in names[: names.index(layers[0])])
        return slice(before, before + sum(store.channels[name] for name in layers))

    return span(stores[0], tile.a), span(stores[1], tile.b)


def models_of(stores: tuple[MapSource, MapSource]) -> dict[str, str]:
    """Return the names of both models as attributes."""
    return {f"model_{s}": store.attrs["model"] for s, store in zip("ab", stores, strict=True)}


def never_vary(varies: list[np.ndarray]) -> dict[str, int]:
    """Return the numbers of units of both models that have no correlation, as attributes.

    Args:
        varies: For each model, whether each unit has a correlation, (unit) bool.
    """
    return {
        f"units_{side}_that_never_vary": int((~found).sum())
        for side, found in zip("ab", varies, strict=True)
    }


def coordinates(stores: tuple[MapSource, MapSource]) -> dict:
    """Return layer, channel and map size of every unit as coordinates of unit_a and unit_b."""
    found: dict[str, tuple] = {}
    for side, store in zip("ab", stores, strict=True):
        dimension = f"unit_{side}"
        names = [name for name in store.layers for _ in range(store.channels[name])]
        channels = np.concatenate([np.arange(store.channels[name]) for name in store.layers])
        sizes = np.array([store.sizes[name] for name in names])
        found |= {
            f"layer_{side}": (dimension, np.array(names)),
            f"channel_{side}": (dimension, channels),
            f"size_{side}": (dimension, sizes[:, 0], {"long_name": "rows of the map"}),
            f"width_{side}": (dimension, sizes[:, 1], {"long_name": "columns of the map"}),
        }
    return found
