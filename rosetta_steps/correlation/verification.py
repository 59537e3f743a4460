"""Correlations of random pairs by brute force: both maps upsampled, in float64."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from rosetta_steps.correlation.similarities import PEARSON, Similarity, similarity_of
from rosetta_steps.maps.resampling import comparison_size, size_of
from rosetta_steps.maps.store import MapReader
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset, open_each
from rosetta_steps.storage.manifests import ingredients, manifest_path


@dataclass(frozen=True)
class Pair:
    """Two units, one of each model.

    Attributes:
        places: Layer of each, and which of the layer's stored channels it is.
        units: Positions in the store of correlations.
        correlation: As stored.
    """

    places: tuple[tuple[str, int], tuple[str, int]]
    units: tuple[int, int]
    correlation: float


def largest_difference(correlations: Path, a: Path, b: Path, pairs: int, seed: int) -> float:
    """Largest |stored - brute force| over random pairs of units.

    Args:
        correlations: Store of {a}--{b}, a table or the nearest partners.
        a: Activations of the first model. Of a store of matched units, these are drawn from.
        b: The same of the second model.
        pairs: Number of pairs.
        seed: Of the draw.

    Raises:
        ValueError: One of the two is NaN and the other is not, or no kept pair has its maps stored.
    """
    stored = open_dataset(correlations)
    first, second = open_each(MapReader, (a, b))
    stores = (first, second)
    ingredients([correlations, a, b])  # refuses what does not belong together
    draw = of_a_table if "correlation" in stored else of_the_nearest
    drawn = list(draw(stored, stores, pairs, np.random.default_rng(seed)))
    if len(drawn) < pairs:
        raise UserError(
            f"{correlations}: of no two units that are nearest partners both maps are stored in "
            f"{a} and {b}. Make best buddies and matched maps of this store first."
        )
    similarity, worst = similarity_of(stored.attrs), 0.0
    for pair in tqdm(drawn, desc="pairs", unit="pair"):
        expected = brute_force(stores, pair, similarity)
        if np.isnan(pair.correlation) != np.isnan(expected):
            raise UserError(
                f"{correlations}: units {pair.units} are {pair.correlation}, expected {expected}."
            )
        worst = max(worst, 0.0 if np.isnan(expected) else abs(pair.correlation - expected))
    return worst


def of_a_table(
    stored: xr.Dataset, stores: tuple[MapReader, MapReader], pairs: int, random: np.random.Generator
) -> Iterator[Pair]:
    """Pairs of units, drawn evenly over pairs of layers."""
    table = stored["correlation"].values
    unit_of = [{name: unit for unit, name in enumerate(names(stored, side))} for side in "ab"]
    for _ in range(pairs):
        places: list[tuple[str, int]] = []
        units: list[int] = []
        for store, of_model in zip(stores, unit_of, strict=True):
            layer = random.choice(store.layers)
            place = int(random.integers(store.channels[layer]))
            places.append((layer, place))
            units.append(of_model[layer, int(store.channel_numbers(layer)[place])])
        correlation = float(table[units[0], units[1]])
        yield Pair((places[0], places[1]), (units[0], units[1]), correlation)


def of_the_nearest(
    stored: xr.Dataset, stores: tuple[MapReader, MapReader], pairs: int, random: np.random.Generator
) -> Iterator[Pair]:
    """Units and their partners, drawn evenly over those whose maps are both stored."""
    place_of = []
    for side, store in zip("ab", stores, strict=True):
        there = {
            (layer, int(channel)): (layer, place)
            for layer in store.layers
            for place, channel in enumerate(store.channel_numbers(layer))
        }
        named = enumerate(names(stored, side))
        place_of.append({unit: there[name] for unit, name in named if name in there})
    kept: list[tuple[tuple[int, int], float]] = []
    for side in "ab":
        partner, correlation = (stored[f"{n}_{side}"].values for n in ("partner", "correlation"))
        for unit, neighbour in np.argwhere(partner >= 0).tolist():
            other = int(partner[unit, neighbour])
            both = (unit, other) if side == "a" else (other, unit)
            if both[0] in place_of[0] and both[1] in place_of[1]:
                kept.append((both, float(correlation[unit, neighbour])))
    for number in random.integers(len(kept), size=pairs) if kept else ():
        units, of_units = kept[number]
        yield Pair((place_of[0][units[0]], place_of[1][units[1]]), units, of_units)


def names(stored: xr.Dataset, side: str) -> list[tuple[str, int]]:
    """Layer and channel of every unit of a side of a store of correlations."""
    layers, channels = stored[f"layer_{side}"].values, stored[f"channel_{side}"].values.tolist()
    return list(zip(layers, channels, strict=True))


def brute_force(
    stores: tuple[MapReader, MapReader], pair: Pair, similarity: Similarity = PEARSON
) -> float:
    """Similarity of two units over all images, NaN where one of them never varies."""
    maps = [
        similarity.prepare(np.asarray(store.arrays[layer][:, place], np.float64))
        for store, (layer, place) in zip(stores, pair.places, strict=True)
    ]
    if any(bool(of_unit.min() == of_unit.max()) for of_unit in maps):
        return np.nan
    size = comparison_size(size_of(maps[0]), size_of(maps[1]))
    large = [
        torch.nn.functional.interpolate(torch.from_numpy(m)[:, None], size, mode="bilinear")[:, 0]
        for m in maps
    ]
    return similarity.by_hand(large[0].numpy(), large[1].numpy())


def maps_of(folder: Path, sample_set: str, model: str) -> Path:
    """The store of a model's maps: all of them where they were dumped, else those that matched."""
    stores = [
        folder / kind / sample_set / f"{model}.zarr" for kind in ("activations", "matched_maps")
    ]
    return next((store for store in stores if manifest_path(store).is_file()), stores[0])


def verify(sample_set: str, folder: Path, pairs: int, seed: int) -> None:
    """Print the largest difference of every table of a sample set.

    Args:
        sample_set: Its name.
        folder: The results.
        pairs: Of each table.
        seed: Of the draw.

    Raises:
        ValueError: There is no table, or as largest_difference.
    """
    tables = sorted((folder / "correlations" / sample_set).glob("[!.]*--*.zarr"))
    if not tables:
        raise UserError(
            f"{folder}/correlations/{sample_set} holds no table: run the workflow first."
        )
    for table in tables:
        a, b = (maps_of(folder, sample_set, name) for name in table.stem.split("--"))
        worst = largest_difference(table, a, b, pairs, seed)
        print(f"{table.stem}: largest difference over {pairs} random pairs {worst:.1e}")
