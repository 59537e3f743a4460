"""From sums of products to correlations, tile by tile."""

import numpy as np
import xarray as xr

from rosetta_steps.correlation.units import Units, places
from rosetta_steps.moments import mean_and_variance
from rosetta_steps.resampling import Size, comparison_size

ROWS = 512  # finished together: what they need besides the table is little


def correlations_of(
    sums: dict[tuple[Size, Size], np.ndarray],
    units: tuple[Units, Units],
    moments: tuple[xr.DataTree, xr.DataTree],
    images: int,
) -> np.ndarray:
    """From sums over all images to correlations.

    Args:
        sums: Of products of centred maps, for each two sizes, float64.
        units: Of both models.
        moments: Of both models.
        images: Summed over.

    Returns:
        (unit_a, unit_b) float32, units in the order of the layers; NaN where one never varies.
    """
    table = np.full([sum(u.channels.values()) for u in units], np.nan, np.float32)
    where = [places(u) for u in units]
    for (size_a, size_b), products in sums.items():
        compared = comparison_size(size_a, size_b)
        centre, deviation = [], []
        for side, size in enumerate((size_a, size_b)):
            found = [
                mean_and_variance(moments[side][name].to_dataset(), compared)
                for name in units[side].layers[size]
            ]
            mean = np.concatenate([m for m, _ in found])
            centre.append(mean - units[side].centre(size))
            deviation.append(np.sqrt(np.concatenate([v for _, v in found])))
        positions = images * compared[0] * compared[1]
        for start in range(0, len(products), ROWS):
            rows = slice(start, start + ROWS)
            covariance = products[rows] / positions - np.outer(centre[0][rows], centre[1])
            with np.errstate(invalid="ignore", divide="ignore"):
                r = covariance / deviation[0][rows, None] / deviation[1]
            table[np.ix_(where[0][size_a][rows], where[1][size_b])] = np.clip(r, -1, 1)
    return table
