"""Computation of a tile's correlations from its sums of products."""

from functools import cache

import numpy as np
import xarray as xr

from rosetta_steps.correlation.settings import MEAN, MEAN_MAP
from rosetta_steps.correlation.units import Units, places
from rosetta_steps.maps.resampling import Size, comparison_size, meeting_size, projected
from rosetta_steps.maps.splits import of_split, split_of
from rosetta_steps.maps.statistics import mean_and_variance, mean_square

ROWS = 512  # processed at a time, to limit the memory besides the table


def correlations_of(
    sums: dict[tuple[Size, Size], np.ndarray],
    units: tuple[Units, Units],
    moments: tuple[xr.DataTree, xr.DataTree],
    images: int,
    *,
    centre: str = MEAN,
    splits: int = 1,
    split: int | None = None,
    decoy: int | None = None,
) -> np.ndarray:
    """Return the correlations of a tile, from its sums over images.

    Args:
        sums: Sums of products of centred maps for each pair of map sizes, (split or decoy, unit
            of a, unit of b), decoys after the splits.
        units: Units of both models.
        moments: Moments of both models.
        images: Number of images.
        centre: What is taken from the maps, MEAN or MEAN_MAP.
        splits: Number of splits.
        split: Number of the split to correlate on; None uses all images.
        decoy: Number of the decoy to correlate; None takes the maps as they are.

    Returns:
        Correlations (unit_a, unit_b) float32, units in the order of the layers; NaN where a unit
        never varies.
    """
    table = np.full([sum(u.channels.values()) for u in units], np.nan, np.float32)
    where = [places(u) for u in units]

    @cache  # one size is needed for several others
    def moments_of(side: int, size: Size, compared: Size) -> tuple[np.ndarray, np.ndarray]:
        found = [
            mean_and_variance(_moments_of(moments[side][name], split), compared)
            for name in units[side].layers[size]
        ]
        mean, variance = map(np.concatenate, zip(*found, strict=True))
        return mean, variance

    def mean_maps_of(side: int, size: Size, mean: np.ndarray) -> np.ndarray:
        layers = [_moments_of(moments[side][name], split) for name in units[side].layers[size]]
        found = np.concatenate([layer["mean_map"].values for layer in layers])
        return found - mean[:, None, None]

    for sizes, parts in sums.items():
        compared, meeting = comparison_size(*sizes), meeting_size(*sizes)
        both = [moments_of(side, size, compared) for side, size in enumerate(sizes)]
        mean, variance = (list(values) for values in zip(*both, strict=True))
        offset = [mean[side] - units[side].centre(size) for side, size in enumerate(sizes)]
        mean_maps = None
        if centre == MEAN_MAP:
            maps = [mean_maps_of(side, size, mean[side]) for side, size in enumerate(sizes)]
            variance = [
                np.maximum(of - mean_square(of_maps, compared), 0)
                for of, of_maps in zip(variance, maps, strict=True)
            ]
            mean_maps = [projected(of_maps, meeting).reshape(len(of_maps), -1) for of_maps in maps]
        deviation = [np.sqrt(of_side) for of_side in variance]
        count = images
        if split is not None:
            count = int((split_of(images, splits) == split).sum())
        values = compared[0] * compared[1]
        chosen = slice(splits) if split is None else slice(split, split + 1)
        if decoy is not None:
            chosen = slice(splits + decoy, splits + decoy + 1)
        for start in range(0, parts.shape[1], ROWS):
            rows = slice(start, start + ROWS)
            products = parts[chosen, rows].sum(0)
            covariance = products / (count * values) - np.outer(offset[0][rows], offset[1])
            if mean_maps is not None:
                covariance -= mean_maps[0][rows] @ mean_maps[1].T / values
            with np.errstate(invalid="ignore", divide="ignore"):
                r = covariance / deviation[0][rows, None] / deviation[1]
            # Nothing is left of a unit that only has its mean map.
            r[np.isinf(r)] = np.nan
            table[np.ix_(where[0][sizes[0]][rows], where[1][sizes[1]])] = np.clip(r, -1, 1)
    return table


def _moments_of(layer: xr.DataTree | xr.DataArray, split: int | None) -> xr.Dataset:
    moments = layer.to_dataset()
    return moments if split is None else of_split(moments, split)
