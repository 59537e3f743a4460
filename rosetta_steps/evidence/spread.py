"""Whether a match is of one unit: rotated bases of its layer, and a linear readout of all of it.

Both follow from the correlations of a unit a with the units of a layer B, the row r, and from the
correlations R of these units with each other (evidence.covariances); no map is read.

A rotation Q of the basis, drawn at random, turns the standardised units into as many directions,
whose correlations with a are

    r Q / sqrt(diag(Q' R Q))

Units are standardised before they are rotated, because otherwise the loudest would rule every
direction. `rotation_excess` of a pair is its r less the mean over rotations of the largest of these
(Khosla et al. 2024; rotations by Mezzadri 2007).

The readout of a from the layer has the coefficients (R + lambda I)^-1 r' of ridge regression, found
on one split of the images; R^2 is what it explains of a on the next one. `one_unit_share` is r^2 of
the pair over that R^2, both on images that gave no coefficient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from rosetta_steps.correlation.similarities import MEAN_MAP, similarity_of
from rosetta_steps.evidence.parts import parts_of_variance, sizes_compared
from rosetta_steps.maps.resampling import Size
from rosetta_steps.maps.splits import of_split

ROTATIONS = 10
SEED = 0
# Lambda of the readout, against a standardised unit's variance of 1. Few images need a large one,
# many a small one: that with which readouts of a layer explain most is taken.
PENALTIES = (1e-3, 3e-2, 1.0)
LARGEST_SHARE = 1.1  # of one unit; beyond 1 by what sampling adds
# Of a unit's variance: with less left about its mean map, its correlations would be rounding.
LEAST_LEFT = 1e-6


@dataclass(frozen=True)
class Units:
    """The units of a layer at a size of comparison, on some images.

    Attributes:
        correlation: Of each unit with each other, (unit, unit) float64.
        deviation: Standard deviation of each, (unit) float64; NaN for one that does not vary, whose
            correlations are NaN as well.
    """

    correlation: np.ndarray
    deviation: np.ndarray

    @property
    def vary(self) -> np.ndarray:
        """Whether each unit varies, (unit) bool."""
        return ~np.isnan(self.deviation)


def spread_of(
    correlations: xr.Dataset,
    pairs: pd.DataFrame,
    moments: Sequence[xr.DataTree],
    covariances: xr.DataTree,
) -> pd.DataFrame:
    """What rotated bases and linear readouts say of pairs of units.

    Args:
        correlations: Whole table of both models, with or without splits.
        pairs: layer_a, channel_a, layer_b, channel_b and correlation.
        moments: Moments of both models.
        covariances: Of the second model, as evidence.covariances writes them.

    Returns:
        In the order and with the index of the pairs: `rotation_excess`; `one_unit_share`, NaN
        without splits, and where a readout explains less of other images than one of its units,
        as it was fitted to too few.
    """
    found = pd.DataFrame(np.nan, pairs.index, ["rotation_excess", "one_unit_share"])
    compared = sizes_compared(moments)
    of_a = pd.MultiIndex.from_arrays(
        [correlations["layer_a"].values.astype(str), correlations["channel_a"].values]
    )
    by_layer = {str(name): of_layer for name, of_layer in pairs.groupby("layer_b")}
    for name in [name for name in moments[1].children if name in by_layer]:
        layer = Layer(correlations, moments, covariances, name)
        groups = _by_size(by_layer[name], [compared(a, name) for a in by_layer[name]["layer_a"]])
        rows = {
            size: of_a.get_indexer(pd.MultiIndex.from_frame(group[["layer_a", "channel_a"]]))
            for size, group in groups.items()
        }
        best = rotated_best(
            [layer.units(size).correlation for size in groups],
            [layer.correlations[rows[size]] for size in groups],
        )
        for (size, group), largest in zip(groups.items(), best, strict=True):
            found.loc[group.index, "rotation_excess"] = group["correlation"] - largest
            if len(layer.of_splits):
                share = layer.one_unit_share(size, group, rows[size])
                found.loc[group.index, "one_unit_share"] = share
    return found


class Layer:
    """A layer of the second model, with the correlations of its units.

    Args:
        correlations: Whole table of both models, with or without splits.
        moments: Moments of both models.
        covariances: Covariances of the second model.
        name: Name of the layer.

    Attributes:
        correlations: Of all units of the first model with those of the layer, (unit_a, unit).
        of_splits: The same on each split, (split, unit_a, unit); of length 0 without splits.
    """

    def __init__(
        self,
        correlations: xr.Dataset,
        moments: Sequence[xr.DataTree],
        covariances: xr.DataTree,
        name: str,
    ):
        self.moments, self.moments_a = moments[1][name].to_dataset(), moments[0]
        self.covariances = covariances[name].to_dataset()
        self.left_only = similarity_of(correlations.attrs).about == MEAN_MAP
        first, last = np.flatnonzero(correlations["layer_b"].values.astype(str) == name)[[0, -1]]
        columns = slice(first, last + 1)
        self.correlations = correlations["correlation"][:, columns].values
        self.of_splits = np.empty((0, *self.correlations.shape), np.float32)
        if "split" in correlations.sizes:
            self.of_splits = correlations["split_correlation"][:, :, columns].values

    def units(self, size: Size, split: int | None = None) -> Units:
        """The layer's units at a size of comparison, on all images or on those of a split."""
        heights, widths = self.covariances["height"].values, self.covariances["width"].values
        at = self.covariances.isel(compared=(heights == size[0]) & (widths == size[1]))
        if split is None:
            return units_of(at["covariance"].values[0], self.moments, size, self.left_only)
        values = at["split_covariance"][split].values[0]
        return units_of(values, of_split(self.moments, split), size, self.left_only)

    def one_unit_share(self, size: Size, pairs: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
        """one_unit_share of pairs that are compared at one size, whose units a are in some rows."""
        splits = range(len(self.of_splits))
        deviations = np.empty((len(splits), len(pairs)))
        place = pd.Series(range(len(pairs)), pairs.index)
        for layer_a, group in pairs.groupby("layer_a", sort=False):
            for split in splits:
                of_a = of_split(self.moments_a[layer_a].to_dataset(), split)
                parts = parts_of_variance(of_a, size)
                variance = parts["variance"] - (parts["where"] if self.left_only else 0)
                deviations[split, place[group.index]] = np.sqrt(variance[group["channel_a"]])
        return one_unit_share(
            [self.units(size, split) for split in splits],
            self.of_splits[:, rows],
            deviations,
            pairs["channel_b"].to_numpy(),
        )


def _by_size(pairs: pd.DataFrame, sizes: Sequence[Size]) -> dict[Size, pd.DataFrame]:
    return {size: pairs[[one == size for one in sizes]] for size in dict.fromkeys(sizes)}


def units_of(covariance: np.ndarray, moments: xr.Dataset, size: Size, left_only: bool) -> Units:
    """Correlations of a layer's units with each other.

    Args:
        covariance: Of the units about their means at the size, (unit, unit).
        moments: Moments of the layer on the same images.
        size: Height and width at which units are compared.
        left_only: Whether mean maps are taken out.
    """
    covariance = covariance.astype(np.float64)
    variance = np.diag(covariance).copy()
    enough = np.zeros_like(variance)
    if left_only:
        mean_map = parts_of_variance(moments, size)["mean_map"]
        covariance -= mean_map @ mean_map.T / mean_map.shape[1]
        enough, variance = LEAST_LEFT * variance, np.diag(covariance)
    with np.errstate(invalid="ignore"):
        deviation = np.sqrt(np.where(variance > enough, variance, np.nan))
        return Units(covariance / deviation / deviation[:, None], deviation)


@lru_cache(maxsize=1)  # neighbouring layers often have as many units
def rotations(units: int) -> tuple[Tensor, ...]:
    """Orthogonal matrices (unit, unit) float32 drawn from Haar's measure (Mezzadri 2007).

    They follow from the number of units alone: layers of as many units are rotated alike.
    """
    found = []
    for number in range(ROTATIONS):
        draw = np.random.default_rng([SEED, number, units])
        gaussian = torch.from_numpy(draw.standard_normal((units, units), np.float32))
        q, r = torch.linalg.qr(gaussian)
        found.append(q * torch.sign(torch.diagonal(r)))
    return tuple(found)


def rotated_best(
    correlations: Sequence[np.ndarray], rows: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Largest correlation with any direction of a rotated basis, the mean over rotations.

    Args:
        correlations: Of a layer's units with each other, (unit, unit) at each of some sizes; NaN
            for units that do not vary, which are left out.
        rows: At each size, the correlations of some units of another model with those of the layer,
            (unit a, unit).

    Returns:
        (unit a) float64 for each size.
    """
    vary = np.logical_and.reduce([~np.isnan(np.diag(one)) for one in correlations])
    for of_size in rows:
        vary &= ~np.isnan(of_size).any(0)
    if not vary.any():
        return [np.full(len(of_size), np.nan) for of_size in rows]
    both = [
        (_narrow(of_size[:, vary]), _narrow(one[vary][:, vary]))
        for of_size, one in zip(rows, correlations, strict=True)
    ]
    total = [np.zeros(len(of_size)) for of_size in rows]
    for q in rotations(int(vary.sum())):
        for place, (of_a, of_layer) in enumerate(both):
            variance = (q * (of_layer @ q)).sum(0)
            total[place] += ((of_a @ q) / variance.sqrt()).amax(1).double().numpy() / ROTATIONS
    return total


def _narrow(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def one_unit_share(
    splits: Sequence[Units], rows: np.ndarray, deviations: np.ndarray, partners: np.ndarray
) -> np.ndarray:
    """Share that one unit has in what a linear readout of its layer explains of other images.

    Coefficients are those of one split, and r^2 and R^2 those of the next; both are summed over
    the splits before they are divided.

    Args:
        splits: The layer's units on each split of the images.
        rows: On each split, correlations of some units a with those of the layer, (split, unit a,
            unit).
        deviations: Standard deviation of each unit a on each split, (split, unit a).
        partners: Unit of the layer that each unit a is matched with, (unit a).

    Returns:
        (unit a) float64; NaN where the readout explains nothing.
    """
    vary = np.logical_and.reduce([one.vary for one in splits])
    vary &= ~np.isnan(rows).any((0, 1))
    explained = np.zeros((len(PENALTIES), len(partners)))
    alone = np.zeros(len(partners))
    inside = [torch.from_numpy(one.correlation[vary][:, vary]) for one in splits]
    of_all = torch.from_numpy(rows[:, :, vary].astype(np.float64))
    for number, learnt in enumerate(splits):
        other = (number + 1) % len(splits)
        alone += rows[other, np.arange(len(partners)), partners].astype(np.float64) ** 2
        # Coefficients of units standardised on the one split, turned to those of the other.
        scale = np.outer(
            deviations[number] / deviations[other],
            (splits[other].deviation / learnt.deviation)[vary],
        )
        for place, penalty in enumerate(PENALTIES):
            ridge = inside[number].clone()
            ridge.diagonal().fill_(1 + penalty)
            factor = torch.linalg.cholesky(ridge)
            readout = torch.cholesky_solve(of_all[number].T, factor).T * torch.from_numpy(scale)
            error = readout @ inside[other] - 2 * of_all[other]
            explained[place] -= (readout * error).sum(1).numpy()
    most = explained[np.argmax(np.nan_to_num(explained).sum(1))]
    with np.errstate(invalid="ignore", divide="ignore"):
        # A readout that says less of other images than one of its units was fitted to too few.
        return np.where((most > 0) & (alone <= LARGEST_SHARE * most), alone / most, np.nan)
