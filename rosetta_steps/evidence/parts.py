"""The three parts of a correlation: where two units respond, on which images, and the rest.

With A and B the maps of two units at their size of comparison (s positions, n images), the
covariance is a sum of three,

    where    (1/s) sum over positions of (mean map of A - mean) (mean map of B - mean)
    amount   (1/n) sum over images of (mean of A on the image - mean) (mean of B - mean)
    place    what is left: both respond at the same place of the same image

each divided by both standard deviations: their sum is r. `where` and `amount` are what remains,
on average, when images are permuted and when the maps of each image are rolled (Hoeffding 1951).
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.maps.resampling import Size, comparison_size, size_of, upsampling
from rosetta_steps.maps.statistics import mean_and_variance

PAIR = ["layer_a", "channel_a", "layer_b", "channel_b"]
LAYERS = ["layer_a", "layer_b"]


def parts_of_variance(moments: xr.Dataset, size: Size) -> dict[str, np.ndarray]:
    """Mean, variance and mean map of a layer's units upsampled to a size.

    Args:
        moments: Moments of the layer, as maps.statistics gives them.
        size: Height and width, at least those of the layer's maps.

    Returns:
        `mean`, `variance`, `where` (variance of the mean map over positions), each (channel), and
        `mean_map` (channel, position) about the mean; float64, NaN for a unit that never varies.
    """
    mean, variance = mean_and_variance(moments, size)
    mean_map = moments["mean_map"].values.astype(np.float64)
    own = size_of(mean_map)
    up_y, up_x = (upsampling(own[axis], size[axis]) for axis in (0, 1))
    centred = (up_y @ mean_map @ up_x.T).reshape(len(mean), -1) - mean[:, None]
    return {
        "mean": mean,
        "variance": variance,
        "where": np.square(centred).mean(1),
        "mean_map": centred,
    }


def sizes_compared(moments: Sequence[xr.DataTree]) -> Callable[[str, str], Size]:
    """Function from a layer of each model to the size at which their units are compared."""

    def compared(layer_a: str, layer_b: str) -> Size:
        a, b = (
            size_of(of_model[layer].to_dataset()["mean_map"])
            for of_model, layer in zip(moments, (layer_a, layer_b), strict=True)
        )
        return comparison_size(a, b)

    return compared


def where_of_pairs(moments: Sequence[xr.DataTree], pairs: pd.DataFrame) -> pd.DataFrame:
    """What moments say of pairs of units; no image is read.

    Args:
        moments: Moments of both models; those of splits are not looked at.
        pairs: layer_a, channel_a, layer_b, channel_b.

    Returns:
        In the order and with the index of the pairs: `deviations` (product of both standard
        deviations), `where` (of r), `left` (product of the standard deviations that both units
        have about their own mean maps); NaN where a unit never varies.
    """
    compared = sizes_compared(moments)

    @cache
    def parts(side: str, layer: str, size: Size) -> dict[str, np.ndarray]:
        return parts_of_variance(moments["ab".index(side)][layer].to_dataset(), size)

    found = pd.DataFrame(np.nan, pairs.index, ["deviations", "where", "left"])
    for (layer_a, layer_b), group in pairs.groupby(LAYERS, sort=False):
        size = compared(layer_a, layer_b)
        sides = []
        for side, layer in (("a", layer_a), ("b", layer_b)):
            channels = group[f"channel_{side}"].to_numpy()
            sides.append({k: v[channels] for k, v in parts(side, layer, size).items()})
        a, b = sides
        deviations = np.sqrt(a["variance"] * b["variance"])
        with np.errstate(invalid="ignore", divide="ignore"):
            where = (a["mean_map"] * b["mean_map"]).mean(1) / deviations
        left = np.sqrt(
            np.maximum(a["variance"] - a["where"], 0) * np.maximum(b["variance"] - b["where"], 0)
        )
        found.loc[group.index, :] = np.stack([deviations, where, left], 1)
    return found


def correlation_left(correlation: np.ndarray, of_pairs: pd.DataFrame) -> np.ndarray:
    """The correlation of pairs once both units' mean maps are taken out; 0 where nothing is left.

    Args:
        correlation: r of each pair.
        of_pairs: What where_of_pairs says of them.
    """
    covariance = (correlation - of_pairs["where"]) * of_pairs["deviations"]
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(of_pairs["left"] > 0, covariance / of_pairs["left"], 0.0)
    return np.clip(r, -1, 1)
