"""The stores that a correlation writes: the whole table, or nearest partners of every unit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr

from rosetta_steps.correlation.similarities import similarity_of
from rosetta_steps.correlation.tiles import Tile
from rosetta_steps.correlation.totals import load
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.maps.splits import split_of
from rosetta_steps.matching.nearest import Nearest, nearest, nearest_of_all
from rosetta_steps.storage.datasets import whole_store, write_dataset, write_template
from rosetta_steps.storage.files import explain_write_errors, whole_file
from rosetta_steps.storage.manifests import Provenance

CHUNK = 1024  # units of either model in a chunk of the table


class WholeTable:
    """Result with every correlation.

    With decoys also `decoy_correlation` (decoy, unit_a, unit_b).

    Args:
        stores: Sources of the maps of both models.
        splits: Number of splits of the images; 1 means none.
        decoys: Number of decoys.
    """

    def __init__(self, stores: tuple[MapSource, MapSource], splits: int, decoys: int):
        self.stores = stores
        # Further tables by the dimension that numbers them: how many, and what they are.
        self.further = {
            dimension: (count, what)
            for dimension, count, what in (
                ("split", splits if splits > 1 else 0, "over the images of a split"),
                ("decoy", decoys, "with the images of b moved"),
            )
            if count
        }

    def keep(
        self,
        file: Path,
        tile: Tile,
        table: np.ndarray,
        splits: Sequence[np.ndarray],
        decoys: Sequence[np.ndarray],
    ) -> None:
        """Write what is kept of a tile, whole or not at all."""
        arrays: dict[str, Any] = {"table": table}
        for dimension, tables in (("split", splits), ("decoy", decoys)):
            if dimension in self.further:
                arrays[dimension] = np.stack(tables)
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
        dimensions, named = ("unit_a", "unit_b"), {"long_name": similarity_of(attrs).title}
        variables: dict[str, tuple] = {"correlation": (dimensions, empty, named)}
        encoding = {"correlation": {"chunks": chunks}}
        for dimension, (count, words) in self.further.items():
            several = dask.array.stack([empty] * count)
            name = f"{dimension}_correlation"
            named = {"long_name": f"{similarity_of(attrs).title} {words}"}
            variables[name] = ((dimension, *dimensions), several, named)
            encoding[name] = {"chunks": (1, *chunks)}
        if "split" in self.further:
            split = split_of(attrs["images"], self.further["split"][0])
            variables["split_of_image"] = (
                "image",
                split,
                {"long_name": "split that an image is in"},
            )
        attrs = attrs | models_of(self.stores)
        template = xr.Dataset(variables, coordinates(self.stores), attrs)
        varies = [np.zeros(units, bool) for units in shape]
        with whole_store(output, provenance) as folder:
            write_template(template, folder, encoding)
            store = zarr.open_group(folder)
            for tile, file in zip(tiles, files, strict=True):
                places = spans(self.stores, tile)
                kept = load(file)
                with explain_write_errors(output):
                    values = _array(store, "correlation")[places] = kept["table"]
                    for dimension in self.further:
                        _array(store, f"{dimension}_correlation")[:, *places] = kept[dimension]
                for axis, (found, part) in enumerate(zip(varies, places, strict=True)):
                    found[part] |= ~np.isnan(values).all(1 - axis)
            store.attrs.update(never_vary(varies))


def _array(store: zarr.Group, name: str) -> zarr.Array:
    array = store[name]
    assert isinstance(array, zarr.Array), name
    return array


class NearestOnly:
    """Result with the K nearest partners of every unit, in both directions.

    With decoys also `decoy_partner_a`, `decoy_correlation_a` (decoy, unit_a, neighbour), and b.

    Args:
        stores: Sources of the maps of both models.
        neighbours: Number of partners K.
        decoys: Number of decoys.
    """

    def __init__(self, stores: tuple[MapSource, MapSource], neighbours: int, decoys: int):
        self.stores, self.neighbours, self.decoys = stores, neighbours, decoys

    def keep(
        self,
        file: Path,
        tile: Tile,
        table: np.ndarray,
        splits: Sequence[np.ndarray],
        decoys: Sequence[np.ndarray],
    ) -> None:
        """Write what is kept of a tile, whole or not at all; first the table, then decoys."""
        arrays: dict[str, list[np.ndarray]] = {}
        places = spans(self.stores, tile)
        for values in (table, *decoys):
            if self.stores[0].attrs["model"] == self.stores[1].attrs["model"]:
                values = values.copy()
                rows, columns = (np.arange(part.start, part.stop) for part in places)
                values[rows[:, None] == columns] = np.nan  # no unit is its own neighbour
            for side, other, oriented in zip("ab", places[::-1], (values, values.T), strict=True):
                found = nearest(oriented, self.neighbours, other.start)
                arrays.setdefault(f"partner_{side}", []).append(found.partner)
                arrays.setdefault(f"correlation_{side}", []).append(found.correlation)
        with whole_file(file) as temporary, temporary.open("wb") as target:
            stacked: dict[str, Any] = {name: np.stack(values) for name, values in arrays.items()}
            np.savez(target, **stacked)

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
            merged = [self._merged(tiles, files, axis, table) for table in range(1 + self.decoys)]
            words = {"partner": "position of the partner; -1: none"}
            words["correlation"] = similarity_of(attrs).title
            for what, long_name in words.items():
                values = [getattr(table, what) for table in merged]
                dimensions, named = [f"unit_{side}", "neighbour"], {"long_name": long_name}
                variables[f"{what}_{side}"] = (dimensions, values[0], named)
                if self.decoys:
                    further = (["decoy", *dimensions], np.stack(values[1:]), named)
                    variables[f"decoy_{what}_{side}"] = further
            varies.append(np.asarray((merged[0].partner >= 0).any(1)))
        attrs = attrs | models_of(self.stores) | never_vary(varies)
        write_dataset(xr.Dataset(variables, coordinates(self.stores), attrs), output, provenance)

    def _merged(self, tiles: list[Tile], files: list[Path], axis: int, table: int) -> Nearest:
        side = "ab"[axis]
        parts: dict[int, list[Nearest]] = {}  # by the first unit of this side
        for tile, file in zip(tiles, files, strict=True):
            kept = load(file)
            found = Nearest(kept[f"partner_{side}"][table], kept[f"correlation_{side}"][table])
            parts.setdefault(spans(self.stores, tile)[axis].start, []).append(found)
        merged = [nearest_of_all(parts[first], self.neighbours) for first in sorted(parts)]
        return Nearest(
            np.concatenate([of_units.partner for of_units in merged]),
            np.concatenate([of_units.correlation for of_units in merged]),
        )


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
