"""Computation of a tile's correlations from its sums of products."""

from functools import cache

import numpy as np
import xarray as xr

from rosetta_steps.correlation.units import Units, places
from rosetta_steps.maps.resampling import Size, comparison_size
from rosetta_steps.maps.splits import of_split, split_of
from rosetta_steps.maps.statistics import mean_and_variance

ROWS = 512  # processed at a time, to limit the memory besides the table


def correlations_of(
    sums: dict[tuple[Size, Size], np.ndarray],
    units: tuple[Units, Units],
    moments: tuple[xr.DataTree, xr.DataTree],
    images: int,
    *,
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
        return mean - units[side].centre(size), np.sqrt(variance)

    for (size_a, size_b), parts in sums.items():
        compared = comparison_size(size_a, size_b)
        both = [moments_of(side, size, compared) for side, size in enumerate((size_a, size_b))]
        centre, deviation = zip(*both, strict=True)
        count = images
        if split is not None:
            count = int((split_of(images, splits) == split).sum())
        positions = count * compared[0] * compared[1]
        chosen = slice(splits) if split is None else slice(split, split + 1)
        if decoy is not None:
            chosen = slice(splits + decoy, splits + decoy + 1)
        for start in range(0, parts.shape[1], ROWS):
            rows = slice(start, start + ROWS)
            products = parts[chosen, rows].sum(0)
            covariance = products / positions - np.outer(centre[0][rows], centre[1])
            with np.errstate(invalid="ignore", divide="ignore"):
                r = covariance / deviation[0][rows, None] / deviation[1]
            table[np.ix_(where[0][size_a][rows], where[1][size_b])] = np.clip(r, -1, 1)
    return table


def _moments_of(layer: xr.DataTree | xr.DataArray, split: int | None) -> xr.Dataset:
    moments = layer.to_dataset()
    return moments if split is None else of_split(moments, split)
