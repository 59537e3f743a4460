"""Chance: how many best buddies as strong would images that were moved have given?

Target-decoy competition: the same mining, with the same K, on tables whose images were moved
between the two models (correlation.decoys). At a level t,

    FDR(t) = (1 + mean over decoys of #{decoy pairs with value >= t}) / #{pairs with value >= t}

and the q-value of a pair is the least FDR of all levels that let it through (He et al. 2022,
doi 10.1007/s10255-022-1077-5). Never 0.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr


def q_values(values: np.ndarray, decoys: Sequence[np.ndarray]) -> np.ndarray:
    """q-value of every pair.

    Args:
        values: Value of each pair that is listed, (pair); larger is stronger.
        decoys: Values of the pairs that each decoy lists, an array a decoy.

    Returns:
        (pair) float64 at most 1; NaN where the value is.

    Raises:
        ValueError: There is no decoy.
    """
    if not decoys:
        raise ValueError("no decoy")
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(-values[known], kind="stable")]
    levels = values[order]
    chance = np.zeros(len(order))
    for found in decoys:
        strong = np.sort(found[~np.isnan(found)])
        chance += len(strong) - np.searchsorted(strong, levels, side="left")
    # Pairs of one value stand or fall together: all of them are counted.
    listed = len(levels) - np.searchsorted(levels[::-1], levels, side="left")
    rate = (1 + chance / len(decoys)) / np.maximum(listed, 1)
    q = np.full(len(values), np.nan)
    q[order] = np.minimum(np.minimum.accumulate(rate[::-1])[::-1], 1)
    return q


def decoy_stores(correlations: xr.Dataset) -> Iterator[xr.Dataset]:
    """Each decoy of a store of correlations, as a store of its own."""
    names = {str(n): str(n).removeprefix("decoy_") for n in correlations if "decoy_" in str(n)}
    for decoy in range(correlations.sizes.get("decoy", 0)):
        yield correlations[list(names)].isel(decoy=decoy).rename(names)
