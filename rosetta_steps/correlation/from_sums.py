"""Similarities of a tile's units from their sums of products."""

from functools import cache, partial

import numpy as np
import xarray as xr

from rosetta_steps.correlation.similarities import PEARSON, Similarity, Statistics
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
    similarity: Similarity = PEARSON,
    splits: int = 1,
    split: int | None = None,
    decoy: int | None = None,
) -> np.ndarray:
    """Return the correlations of a tile, or other similarities, from its sums over images.

    Args:
        sums: Sums of products of centred maps for each pair of map sizes, (split or decoy, unit
            of a, unit of b), decoys after the splits.
        units: Units of both models.
        moments: Moments of both models.
        images: Number of images.
        similarity: What is computed.
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

    def mean_maps_of(side: int, sizes: tuple[Size, Size]) -> tuple[np.ndarray, np.ndarray]:
        compared, meeting = comparison_size(*sizes), meeting_size(*sizes)
        names = units[side].layers[sizes[side]]
        layers = [_moments_of(moments[side][name], split) for name in names]
        maps = np.concatenate([layer["mean_map"].values for layer in layers])
        maps = maps - moments_of(side, sizes[side], compared)[0][:, None, None]
        return projected(maps, meeting).reshape(len(maps), -1), mean_square(maps, compared)

    for sizes, parts in sums.items():
        compared = comparison_size(*sizes)
        a, b = (
            Statistics(*moments_of(side, size, compared), partial(mean_maps_of, side, sizes))
            for side, size in enumerate(sizes)
        )
        offset = [
            of.mean - u.centre(size) for of, u, size in zip((a, b), units, sizes, strict=True)
        ]
        scale = [similarity.scale(of_side) for of_side in (a, b)]
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
            shared = products / (count * values) - np.outer(offset[0][rows], offset[1])
            similarity.shared(shared, a, b, rows, values)
            with np.errstate(invalid="ignore", divide="ignore"):
                r = shared / scale[0][rows, None] / scale[1]
            # Of a unit whose scale is 0 nothing is to be compared.
            r[np.isinf(r)] = np.nan
            table[np.ix_(where[0][sizes[0]][rows], where[1][sizes[1]])] = np.clip(r, -1, 1)
    return table


def _moments_of(layer: xr.DataTree | xr.DataArray, split: int | None) -> xr.Dataset:
    moments = layer.to_dataset()
    return moments if split is None else of_split(moments, split)
