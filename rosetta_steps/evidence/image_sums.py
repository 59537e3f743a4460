"""Sums over each image of the maps of matched pairs, from one pass over them.

From these follow intervals, the influence of images, the amount's part of r, and what low-level
features explain, without reading a map again. Units are compared at the larger size of the two;
products are taken at the smaller one, by the adjoint of the upsampling (maps.resampling).
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import torch
import xarray as xr
from tqdm import tqdm

from rosetta_steps.evidence import low_level
from rosetta_steps.evidence.intervals import ImageSums, effective_images
from rosetta_steps.evidence.kernels import BINS, multiply, multiply_moved
from rosetta_steps.evidence.parts import LAYERS, PAIR, sizes_compared
from rosetta_steps.evidence.units import FeatureSums, LayerMaps, UnitsAtSize
from rosetta_steps.maps.resampling import Size, meeting_size
from rosetta_steps.maps.sources import MapSource, open_maps, prepare
from rosetta_steps.matching.tables import read_best_buddies
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.storage.datasets import open_dataset, open_each, open_tree, write_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients

KIND = "image sums"
TOP_SHARE = 0.01  # of all products of a pair, whose share of their sum is kept
# Cells by which one map is moved against the other, in height and width.
OFFSETS = (-1, 0, 1)
# Images at once: those of a file, unless the config says otherwise, and fewer of large maps.
IMAGES_PER_BLOCK, BLOCK_BYTES = 32, 1e9


def measure(
    maps: Sequence[Path],
    moments: Sequence[Path],
    buddies: Path,
    samples: Path,
    output: Path,
    *,
    identity: str | None = None,
) -> None:
    """Write the sums of every best buddy of two models.

    Args:
        maps: Maps of both models: a store that has at least their matched units, or a stream.
        moments: Moments of both models.
        buddies: Table of their best buddies.
        samples: Store of the images.
        output: Store to write.
        identity: Identity of the result, as Provenance takes it.

    Raises:
        StoreError: A store is damaged, or does not belong to the others.
    """
    made_of = ingredients([*maps, *moments, buddies, samples])
    readers, trees = open_each(open_maps, maps), open_each(open_tree, moments)
    models = [str(reader.attrs["model"]) for reader in readers]
    pairs = read_best_buddies(buddies, models)[PAIR]
    found = sums_of(readers, trees, pairs, open_dataset(samples)["image"])
    found = found.assign_attrs({f"model_{s}": m for s, m in zip("ab", models, strict=True)})
    provenance = Provenance(KIND, models, readers[0].state["sample_set"], made_of, identity)
    write_dataset(found, output, provenance)


def carry_out(a: argparse.Namespace) -> None:
    """Write the sums that a command line asks for."""
    prepare([a.maps_a, a.maps_b], a.threads)
    numba.set_num_threads(min(a.threads, os.cpu_count() or 1))
    measure(
        (a.maps_a, a.maps_b),
        (a.moments_a, a.moments_b),
        a.buddies,
        a.samples,
        a.output,
        identity=a.identity,
    )


def sums_of(
    readers: Sequence[MapSource],
    moments: Sequence[xr.DataTree],
    pairs: pd.DataFrame,
    images: xr.DataArray,
) -> xr.Dataset:
    """Sums of pairs of units over the maps of both models on the same images.

    Args:
        readers: Maps of both models, at least those of the pairs.
        moments: Moments of both models.
        pairs: layer_a, channel_a, layer_b, channel_b.
        images: The images, (image, rgb, y, x) in [0, 1].

    Returns:
        By (pair, image) float32, at the size of comparison: `sum_a`, `sum_b`, `sum_aa`, `sum_bb`,
        `sum_ab` of values about each unit's mean, and `left_aa`, `left_bb`, `left_ab` of values
        about its mean map. By (pair): `positions`; `top_positions`, the share of the sum of
        `left_ab` that the largest hundredth of all products has, at the size where both meet;
        `high_norm`, the share that positions of a high norm have; `high_norm_a`, `_b`, the share of
        the positions of a layer that have one; `moved`, by (pair, down, right), correlations at
        that size with the map of b moved by a cell;
        `effective_images_a`, `_b`; `explained_a`, `_b`, R^2 of the low-level features;
        `partial_low_level`. By (pair, feature): `low_level_a`, `_b`, correlations with each.
    """
    pairs = pairs.reset_index(drop=True)
    shape = (len(pairs), readers[0].images)
    names = [f"{what}_{of}" for what in ("sum", "left") for of in ("aa", "bb", "ab")]
    sums = {name: np.zeros(shape, np.float32) for name in ("sum_a", "sum_b", *names)}
    layers = [
        {
            layer: LayerMaps(readers[side], moments[side][layer].to_dataset(), layer, channels)
            for layer, channels in pairs.groupby(LAYERS[side])[f"channel_{name}"].unique().items()
        }
        for side, name in enumerate("ab")
    ]
    for reader, of_model in zip(readers, layers, strict=True):
        reader.select_layers(of_model)
    compared = sizes_compared(moments)
    groups = [
        Group(part, (layers[0][a].at(compared(a, b)), layers[1][b].at(compared(a, b))))
        for (a, b), part in pairs.groupby(LAYERS, sort=False)
    ]
    shown = {group.size: FeatureSums(group.size) for group in groups}
    for of_model in layers:
        for layer in of_model.values():
            for size in layer.sizes:
                shown[size].meets(layer.size)
    of_image = 4 * sum(layer.values_held() for of_model in layers for layer in of_model.values())
    at_once = int(max(1, min(IMAGES_PER_BLOCK, BLOCK_BYTES // of_image))) if of_image else 1
    for block in tqdm(image_blocks(shape[1], at_once), "sums over images", unit="block"):
        features = low_level.features(torch.from_numpy(images.isel(image=block).values))
        for of_size in shown.values():
            of_size.add(features)
        for of_model in layers:
            for layer in of_model.values():
                layer.read(block)
                for units in layer.sizes.values():
                    units.add(shown[units.size])
        for group in groups:
            group.add(sums, block)
    return _dataset(pairs, sums, groups, shown)


class Group:
    """Pairs of units of two layers.

    Args:
        pairs: Their rows of the table.
        units: Units of both layers at the size of comparison.
    """

    def __init__(self, pairs: pd.DataFrame, units: tuple[UnitsAtSize, UnitsAtSize]):
        self.units, self.size = units, units[0].size
        self.pairs = pairs.index.to_numpy()
        self.rows = [u.rows(pairs[f"channel_{s}"]) for u, s in zip(units, "ab", strict=True)]
        self.meeting = meeting_size(*(of_layer.own for of_layer in units))
        for of_layer in units:
            of_layer.meets(self.meeting)
        self.count = np.zeros((len(pairs), BINS), np.int64)
        self.total = np.zeros((len(pairs), BINS))
        self.moved = np.zeros((len(pairs), len(OFFSETS), len(OFFSETS)))
        self.high = np.zeros(len(pairs))

    def add(self, sums: Mapping[str, np.ndarray], block: slice) -> None:
        """Add the block of images that both layers have read."""
        for units, rows, side in zip(self.units, self.rows, "ab", strict=True):
            sums[f"sum_{side}"][self.pairs, block] = units.sum[rows]
            sums[f"sum_{side}{side}"][self.pairs, block] = units.square[rows]
            sums[f"left_{side}{side}"][self.pairs, block] = units.left[rows]
        a, b = (units.meeting[self.meeting] for units in self.units)
        mean_a, mean_b = (units.mean_maps[self.meeting] for units in self.units)
        products = np.zeros((2, len(self.pairs), a.shape[1]), np.float32)
        rows_a, rows_b = self.rows
        high = torch.stack([units.layer.high_at(self.meeting) for units in self.units]).any(0)
        multiply(
            a, mean_a, b, mean_b, rows_a, rows_b, high.flatten(1).numpy(),
            products[0], products[1], self.high, self.count, self.total,
        )  # fmt: skip
        sums["sum_ab"][self.pairs, block], sums["left_ab"][self.pairs, block] = products
        of_a, of_b = (of.reshape(*of.shape[:2], *self.meeting) for of in (a, b))
        multiply_moved(of_a, of_b, rows_a, rows_b, self.moved)

    def correlation_moved(self) -> np.ndarray:
        """Correlations with the maps of b moved by a cell, (pair, down, right).

        At the size where both meet, over the cells that both have: b at (y + down, x + right) goes
        with a at (y, x). NaN where a side is a single cell long.
        """
        images = self.units[0].layer.reader.images
        first, square = [], []
        for units, rows in zip(self.units, self.rows, strict=True):
            mean_maps = units.mean_maps[self.meeting]
            first.append(images * mean_maps.astype(np.float64)[rows].reshape(-1, *self.meeting))
            square.append(units.squares[self.meeting][rows].reshape(-1, *self.meeting))
        found = np.full(self.moved.shape, np.nan)
        for i, down in enumerate(OFFSETS):
            for j, right in enumerate(OFFSETS):
                of_a = window(down, self.meeting[0]), window(right, self.meeting[1])
                of_b = window(-down, self.meeting[0]), window(-right, self.meeting[1])
                cells = first[0][:, *of_a][0].size
                if not cells:
                    continue
                a, aa = (s[:, *of_a].sum((1, 2)) / (images * cells) for s in (first[0], square[0]))
                b, bb = (s[:, *of_b].sum((1, 2)) / (images * cells) for s in (first[1], square[1]))
                ab = self.moved[:, i, j] / (images * cells)
                with np.errstate(invalid="ignore", divide="ignore"):
                    found[:, i, j] = (ab - a * b) / np.sqrt((aa - a * a) * (bb - b * b))
        return found

    def top_positions(self, left: np.ndarray) -> np.ndarray:
        """Share of the sum of products that the largest hundredth of them has, (pair).

        Args:
            left: Sum of the products of each pair; NaN where that is not above 0.
        """
        images = self.units[0].layer.reader.images
        wanted = TOP_SHARE * images * prod(self.meeting)
        count, total = (bins[:, ::-1].cumsum(1) for bins in (self.count, self.total))
        # Of the bin in which the hundredth ends, the part that is needed.
        last = np.minimum((count < wanted).sum(1), BINS - 1)
        rows = np.arange(len(last))
        before = np.where(last > 0, count[rows, last - 1], 0)
        sum_before = np.where(last > 0, total[rows, last - 1], 0.0)
        inside = count[rows, last] - before
        share = np.clip((wanted - before) / np.maximum(inside, 1), 0, 1)
        top = sum_before + share * (total[rows, last] - sum_before)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(left > 0, top / left, np.nan)


def window(offset: int, length: int) -> slice:
    """Cells of a map that have a partner `offset` cells further on."""
    return slice(max(0, -offset), length - max(0, offset))


def _dataset(
    pairs: pd.DataFrame,
    sums: dict[str, np.ndarray],
    groups: list[Group],
    shown: Mapping[Size, FeatureSums],
) -> xr.Dataset:
    empty = partial(np.full, fill_value=np.nan)
    positions = empty(len(pairs))
    top, partials = empty(len(pairs)), empty(len(pairs))
    moved = empty((len(pairs), len(OFFSETS), len(OFFSETS)))
    high, of_layers = empty(len(pairs)), [empty(len(pairs)) for _ in "ab"]
    features = [empty((len(pairs), len(low_level.FEATURES))) for _ in "ab"]
    explained = [empty(len(pairs)) for _ in "ab"]
    for group in groups:
        positions[group.pairs] = prod(group.size)
    a, b, aa, bb, ab = (sums[f"sum_{name}"].T for name in ("a", "b", "aa", "bb", "ab"))
    r = ImageSums(a, b, aa, bb, ab, positions=positions).correlation()[0]
    for group in groups:
        rows = group.pairs
        moved[rows] = group.correlation_moved()
        left = sums["left_ab"][rows].sum(1, dtype=np.float64)
        top[rows] = group.top_positions(left)
        with np.errstate(invalid="ignore", divide="ignore"):
            high[rows] = np.where(left > 0, group.high / left, np.nan)
        of_size = shown[group.size]
        deviations = np.sqrt(np.diag(of_size.covariance()))
        with np.errstate(invalid="ignore", divide="ignore"):
            between = of_size.covariance() / np.outer(deviations, deviations)
        between = np.nan_to_num(between)
        for side, units in enumerate(group.units):
            features[side][rows] = units.correlation_with(of_size)[group.rows[side]]
            of_layers[side][rows] = units.layer.high_positions / max(1, units.layer.positions)
            explained[side][rows] = low_level.explained(features[side][rows], between)
        partials[rows] = low_level.partial_correlation(
            r[rows], features[0][rows], features[1][rows], between
        )
    variables: dict = {name: (("pair", "image"), values) for name, values in sums.items()}
    variables["positions"] = ("pair", positions.astype(np.int64))
    variables["top_positions"] = ("pair", top)
    variables["high_norm"] = ("pair", high)
    variables["moved"] = (("pair", "down", "right"), moved)
    variables["partial_low_level"] = ("pair", partials)
    for side, name in enumerate("ab"):
        energy = sums[f"left_{name}{name}"].T
        variables[f"effective_images_{name}"] = ("pair", effective_images(energy))
        variables[f"high_norm_{name}"] = ("pair", of_layers[side])
        variables[f"low_level_{name}"] = (("pair", "feature"), features[side])
        variables[f"explained_{name}"] = ("pair", explained[side])
    coordinates: dict = {name: ("pair", pairs[name].to_numpy()) for name in PAIR}
    coordinates |= {"feature": list(low_level.FEATURES), "down": list(OFFSETS)}
    return xr.Dataset(variables, coordinates | {"right": list(OFFSETS)})
