"""Exact moments of permutations: how far units agree beyond what moved images would give.

Maps are pooled by area to at most 8 x 8 positions. With a_i and b_i the pooled maps of two units on
image i, less their means over the images of its class, the statistic is

    T = sum over images of <a_i, b_i>

If the images of one model are permuted within classes, all ways alike, T has the mean 0 and, with
S_a = sum over the n images of a class of a_i a_i', the variance

    sum over classes of  tr(S_a S_b) / (n - 1)

and is about normal (Hoeffding 1951, combinatorial central limit theorem). So z = T / sd needs no
permutation. The maps' favourite positions play no part in T. z says that images matter, not that
two units share a concept: with hundreds of images, most pairs of units pass.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy.special import ndtr
from torch import Tensor
from tqdm import tqdm

from rosetta_steps.correlation.decoys import moved_images
from rosetta_steps.evidence.intervals import effective_images
from rosetta_steps.evidence.parts import LAYERS, PAIR
from rosetta_steps.maps.resampling import Size, meeting_size
from rosetta_steps.maps.sources import MapSource, open_maps
from rosetta_steps.matching.tables import read_best_buddies
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset, open_each, write_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients

KIND = "permutations"
LARGEST = (8, 8)  # positions of a pooled map
BINS, FARTHEST = 4096, 128.0  # of the histogram of z; both ends are open
CENTRED_UNITS = 64  # at a time, so that there is no second copy of the maps
POOLED_BYTES = 1e9  # of the pooled maps of each model that are held at a time
# Below as many effective images of a unit, the normal is no match for the tail of T.
FEW_IMAGES, SIMULATED = 30, 1000
SEED = 0
QUARTILES = 1.3489795  # distance of both quartiles of a standard normal
COLUMNS = ["z", "p", "simulated", "effective_positions", "effective_images_a", "effective_images_b"]
# Least p by the normal: what lies below says how many images there are, and nothing else.
LEAST_P = 1e-300
LEVELS = (2.0, 3.0, 4.0, 5.0, 6.0)  # of z, at which decoys are counted


def measure(
    maps: Sequence[Path],
    buddies: Path,
    samples: Path,
    output: Path,
    *,
    level: float = 0.05,
    images_per_block: int = 32,
    identity: str | None = None,
) -> xr.Dataset:
    """Write z of every best buddy of two models, and the histogram of z over all pairs of units.

    Args:
        maps: Activations, or streams, of both models.
        buddies: Table of their best buddies.
        samples: Store of the images, within whose classes images are exchangeable.
        output: Store to write.
        level: False discovery rate of the threshold on z.
        images_per_block: Images among which decoys are moved, as in the correlations.
        identity: Identity of the result, as Provenance takes it.

    Returns:
        What is written: z_of.

    Raises:
        StoreError: A store is damaged, or does not belong to the others.
        ValueError: No image has another of its class.
    """
    made_of = ingredients([*maps, buddies, samples])
    readers = open_each(open_maps, maps)
    models = [str(reader.attrs["model"]) for reader in readers]
    pairs = read_best_buddies(buddies, models)[PAIR]
    images = open_dataset(samples)
    labels = images["label"].values if "label" in images else None
    found = z_of(readers, pairs, labels, level=level, images_per_block=images_per_block)
    found = found.assign_attrs({f"model_{s}": m for s, m in zip("ab", models, strict=True)})
    write_dataset(
        found, output, Provenance(KIND, models, readers[0].state["sample_set"], made_of, identity)
    )
    return found


def z_of(
    readers: Sequence[MapSource],
    pairs: pd.DataFrame,
    labels: np.ndarray | None = None,
    *,
    level: float = 0.05,
    images_per_block: int = 32,
) -> xr.Dataset:
    """z of pairs of units, and histograms of z over all pairs of units of two models.

    Args:
        readers: Maps of both models.
        pairs: layer_a, channel_a, layer_b, channel_b.
        labels: Class of each image; None: all are of one.
        level: False discovery rate of the threshold on z (Benjamini & Hochberg 1995).
        images_per_block: Images among which those of the decoy are moved.

    Returns:
        By (pair): `z`; `p`, the chance of as large a T, never 0; `simulated`, whether p is of
        permutations carried out; `effective_positions`, how many independent positions the null
        distribution is worth; `effective_images_a`, `_b`. By (bin), of which `lower` is the lower
        end: `pairs` and `decoys`, counts of z over all pairs of units, and over those with the
        images of b moved. By (level): `decoys_above`, and `expected_above` by the normal.
        Attributes: `median` and `spread` of the centre of the histogram (1 by the null hypothesis;
        Efron 2004), `decoy_median` and `decoy_spread`, `threshold` of z at the level (NaN: none)
        and `pairs_found` from it on.
    """
    images = readers[0].images
    classes = _classes(labels, images)
    moved = np.concatenate(
        [
            block.start + moved_images(block, 1, None if labels is None else labels[block])[0]
            for block in image_blocks(images, images_per_block)
        ]
    )
    pairs = pairs.reset_index(drop=True)
    found = Found(
        {layers: part for layers, part in pairs.groupby(LAYERS, sort=False)},
        pd.DataFrame(np.nan, pairs.index, COLUMNS),
        np.zeros((2, BINS), np.int64),
        drawn_orders(classes),
    )
    parts = [
        list(_parts(reader, set(other.sizes.values())))
        for reader, other in zip(readers, readers[::-1], strict=True)
    ]
    passes = len(parts[0]) * (1 + len(parts[1]))
    with tqdm(total=images * passes, desc="permutations", unit="image") as bar:
        for part_a in parts[0]:
            first = _pooled(readers[0], part_a, readers[1], classes, bar=bar)
            for part_b in parts[1]:
                for b in _pooled(readers[1], part_b, readers[0], classes, bar=bar):
                    for a in first:
                        _compare(a, b, classes, moved, found)
    return _dataset(pairs, found, level)


@dataclass(frozen=True)
class Found:
    """What is known of pairs of units, filled layer by layer.

    Attributes:
        by_layers: Pairs of each layer of a and of b.
        of_pairs: COLUMNS of each pair.
        histogram: Of z, and of z with the images of b moved, (2, bin).
        orders: Permutations that are carried out where few images carry a unit, (draw, image).
    """

    by_layers: Mapping[tuple[str, str], pd.DataFrame]
    of_pairs: pd.DataFrame
    histogram: np.ndarray
    orders: np.ndarray


class Pooled:
    """Pooled maps of a layer about their means over each class.

    Args:
        layer: Its name.
        size: Height and width of its maps.
        maps: By pooled size (unit, image, position) float32, centred.
        classes: Images of each class.
    """

    def __init__(
        self, layer: str, size: Size, maps: dict[Size, Tensor], classes: Sequence[np.ndarray]
    ):
        self.layer, self.size, self.maps, self.classes = layer, size, maps, classes
        self._moments: dict[Size, list[Tensor]] = {}

    def moments(self, size: Size) -> Iterable[Tensor]:
        """Second moments of every unit, class by class, kept where they are few."""
        maps = self.maps[size]
        if size in self._moments:
            return self._moments[size]
        computed = (second_moments(maps[:, images]) for images in self.classes)
        if 2 * len(maps) * prod(size) ** 2 * len(self.classes) > POOLED_BYTES / 4:
            return computed
        return self._moments.setdefault(size, list(computed))


def centred(maps: Tensor, classes: Sequence[np.ndarray]) -> Tensor:
    """Maps about their means over the images of each class.

    Args:
        maps: (unit, image, position).
        classes: Images of each class.
    """
    found = torch.zeros_like(maps)
    for images in classes:
        of_class = maps[:, images]
        found[:, images] = of_class - of_class.mean(1, keepdim=True)
    return found


def second_moments(maps: Tensor) -> Tensor:
    """Sums of products of positions over images, (unit, value).

    Values are those on and above the diagonal, weighted so that the product of two units' values is
    the trace of the product of their matrices.

    Args:
        maps: (unit, image, position).
    """
    squares = maps.transpose(1, 2) @ maps
    y, x = torch.triu_indices(*squares.shape[1:])
    return squares[:, y, x] * torch.where(y == x, 1.0, 2.0**0.5).to(maps)


def permutation_variance(
    a: Iterable[Tensor], b: Iterable[Tensor], classes: Sequence[np.ndarray]
) -> Tensor:
    """Variance of T over all permutations of images within classes, (unit of a, unit of b).

    Args:
        a: Second moments of units of one model, class by class.
        b: Those of units of the other.
        classes: Images of each class.
    """
    parts = (
        of_a @ of_b.T / (len(images) - 1)
        for of_a, of_b, images in zip(a, b, classes, strict=True)
        if len(images) > 1
    )
    return reduce(torch.add, parts)


def drawn_orders(classes: Sequence[np.ndarray], draws: int = SIMULATED) -> np.ndarray:
    """Permutations of images within classes drawn at random, (draw, image)."""
    draw = np.random.default_rng(SEED)
    orders = np.tile(np.arange(sum(map(len, classes))), (draws, 1))
    for images in classes:
        orders[:, images] = draw.permuted(orders[:, images], axis=1)
    return orders


def simulated_p(a: Tensor, b: Tensor, orders: np.ndarray) -> float:
    """Share of permutations carried out whose T is as large, itself counted, so never 0.

    Args:
        a: Centred maps of a unit, (image, position).
        b: Those of a unit of the other model.
        orders: Permutations of the images, (draw, image).
    """
    products = (a.double() @ b.double().T).numpy()
    observed = np.trace(products)
    totals = products[np.arange(len(products)), orders].sum(1)
    reached = (totals >= observed - 1e-12 * np.abs(observed)).sum()
    return float((1 + reached) / (1 + len(orders)))


def _classes(labels: np.ndarray | None, images: int) -> list[np.ndarray]:
    if labels is None:
        return [np.arange(images)]
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if alone := sum(len(one) == 1 for one in classes):
        if alone == len(classes):
            raise UserError(
                f"each of the {images} images is alone in its class, so none can be exchanged for "
                "another. Take a sample set with fewer classes, or more images of each."
            )
        print(f"{alone} of {images} images are alone in their class: left out.", file=sys.stderr)
    return classes


def pooled_size(a: Size, b: Size) -> Size:
    """Size at which maps of two sizes are compared here: at most theirs, and at most LARGEST."""
    return meeting_size(LARGEST, meeting_size(a, b))


def _parts(reader: MapSource, others: set[Size]) -> Iterator[list[str]]:
    # Runs of layers whose pooled maps are held together; a model that is not stored runs once each.
    part: list[str] = []
    held = 0.0
    for layer in reader.layers:
        sizes = {pooled_size(reader.sizes[layer], other) for other in others}
        own = 4 * reader.images * reader.channels[layer] * sum(map(prod, sizes))
        if part and held + own > POOLED_BYTES:
            yield part
            part, held = [], 0.0
        part, held = [*part, layer], held + own
    yield part


def _pooled(
    reader: MapSource,
    layers: Sequence[str],
    other: MapSource,
    classes: Sequence[np.ndarray],
    *,
    bar: tqdm,
) -> list[Pooled]:
    reader.select_layers(layers)
    kept: dict[str, dict[Size, Tensor]] = {}
    for layer in layers:
        sizes = {pooled_size(reader.sizes[layer], size) for size in other.sizes.values()}
        shape = (reader.channels[layer], reader.images)
        kept[layer] = {size: torch.empty(*shape, prod(size)) for size in sizes}
    for block in image_blocks(reader.images, reader.images_per_read(POOLED_BYTES / 4)):
        for layer in layers:
            maps = torch.as_tensor(reader.read(layer, block)).float()
            for size, into in kept[layer].items():
                small = torch.nn.functional.adaptive_avg_pool2d(maps, size)
                into[:, block] = small.flatten(2).transpose(0, 1).cpu()
        bar.update(block.stop - block.start)
    for maps in (maps for of_layer in kept.values() for maps in of_layer.values()):
        for rows in image_blocks(len(maps), CENTRED_UNITS):
            maps[rows] = centred(maps[rows], classes)
    return [
        Pooled(layer, reader.sizes[layer], of_layer, classes) for layer, of_layer in kept.items()
    ]


def _compare(
    a: Pooled, b: Pooled, classes: Sequence[np.ndarray], moved: np.ndarray, found: Found
) -> None:
    size = pooled_size(a.size, b.size)
    maps_a, maps_b = a.maps[size], b.maps[size]
    variance = permutation_variance(a.moments(size), b.moments(size), classes)
    deviation = torch.where(variance > 0, variance, torch.nan).sqrt()
    z = maps_a.flatten(1) @ maps_b.flatten(1).T / deviation
    decoys = maps_a.flatten(1) @ maps_b[:, moved].flatten(1).T / deviation
    for counts, values in zip(found.histogram, (z, decoys), strict=True):
        known = values[~values.isnan()].numpy()
        bins = np.floor((known + FARTHEST) / (2 * FARTHEST / BINS)).astype(np.int64)
        counts += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)
    pairs = found.by_layers.get((a.layer, b.layer))
    if pairs is None:
        return
    rows = [pairs[f"channel_{side}"].to_numpy(copy=True) for side in "ab"]
    energy = [
        maps[of_side].square().sum(2).double().numpy()
        for maps, of_side in zip((maps_a, maps_b), rows, strict=True)
    ]
    free = sum(len(images) - 1 for images in classes)
    of_pairs = z[rows[0], rows[1]].double().numpy()
    images = [effective_images(one.T) for one in energy]
    p = np.maximum(ndtr(-of_pairs), LEAST_P)
    few = (np.minimum(*images) < FEW_IMAGES) & ~np.isnan(of_pairs)
    for row in np.flatnonzero(few):
        p[row] = simulated_p(maps_a[rows[0][row]], maps_b[rows[1][row]], found.orders)
    with np.errstate(invalid="ignore", divide="ignore"):
        positions = energy[0].sum(1) * energy[1].sum(1) / free
        positions /= variance[rows[0], rows[1]].double().numpy()
    columns = [of_pairs, p, few.astype(float), positions, *images]
    found.of_pairs.loc[pairs.index, COLUMNS] = np.stack(columns, 1)


def _dataset(pairs: pd.DataFrame, found: Found, level: float) -> xr.Dataset:
    edges = np.linspace(-FARTHEST, FARTHEST, BINS + 1)
    counts, decoys = found.histogram
    lower = np.concatenate([[-np.inf], edges[1:-1]])
    above, decoys_above = (one[::-1].cumsum()[::-1] for one in found.histogram)
    total = int(above[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = total * ndtr(-lower) / above
    passing = np.flatnonzero((above > 0) & (rate <= level))
    middle, spread = _centre(counts, edges)
    decoy_middle, decoy_spread = _centre(decoys, edges)
    attrs = {
        "false_discovery_rate": level,
        "all_pairs": total,
        "median": middle,
        "spread": spread,
        "decoy_median": decoy_middle,
        "decoy_spread": decoy_spread,
        "threshold": float(lower[passing[0]]) if len(passing) else float("nan"),
        "pairs_found": int(above[passing[0]]) if len(passing) else 0,
    }
    at = np.searchsorted(lower, LEVELS)
    variables: dict = {
        name: ("pair", of_pairs.to_numpy()) for name, of_pairs in found.of_pairs.items()
    }
    variables["simulated"] = ("pair", found.of_pairs["simulated"].to_numpy() == 1)
    variables |= {
        "pairs": ("bin", counts),
        "decoys": ("bin", decoys),
        "lower": ("bin", lower),
        "pairs_above": ("level", above[at]),
        "decoys_above": ("level", decoys_above[at]),
        "expected_above": ("level", total * ndtr(-np.array(LEVELS))),
    }
    coordinates: dict = {name: ("pair", pairs[name].to_numpy()) for name in PAIR}
    return xr.Dataset(variables, coordinates | {"level": list(LEVELS)}, attrs)


def _centre(counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    # Median, and the standard deviation of a normal with the same quartiles.
    if not counts.any():
        return float("nan"), float("nan")
    below = np.concatenate([[0], counts.cumsum()]) / counts.sum()
    low, middle, high = np.interp([0.25, 0.5, 0.75], below, edges)
    return float(middle), float((high - low) / QUARTILES)
