"""How much of a unit low-level features of the image explain.

A unit that is explained by brightness, colour, contrast, edges or its place in the image says
little about what two networks share besides their input. The partial correlation of two units is
what is left of r once both have been regressed on the features.
"""

import numpy as np
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from rosetta_steps.maps.resampling import Size
from rosetta_steps.zoo.models.low_level import FEATURES, features

__all__ = ["FEATURES", "features"]  # beside what is defined here, for its importers


def resized(maps: Tensor, size: Size) -> Tensor:
    """Maps of features averaged over areas, or upsampled, to a size, (image, feature, y, x)."""
    if size[0] <= maps.shape[2] and size[1] <= maps.shape[3]:
        return adaptive_avg_pool2d(maps, size)
    return interpolate(maps, size, mode="bilinear")


def explained(of_unit: np.ndarray, between: np.ndarray) -> np.ndarray:
    """Share of a unit's variance that the features explain together, R^2, (unit).

    Args:
        of_unit: Correlation of each unit with each feature, (unit, feature).
        between: Correlations of the features, (feature, feature).
    """
    return np.clip(np.einsum("uf,fg,ug->u", of_unit, np.linalg.pinv(between), of_unit), 0, 1)


def partial_correlation(
    r: np.ndarray, of_a: np.ndarray, of_b: np.ndarray, between: np.ndarray
) -> np.ndarray:
    """Correlation of pairs of units once both have been regressed on the features, (pair).

    Args:
        r: Correlation of each pair.
        of_a: Correlations of its first unit with the features, (pair, feature).
        of_b: Those of its second unit.
        between: Correlations of the features, (feature, feature).

    Returns:
        In [-1, 1]; 0 where the features explain all of a unit.
    """
    shared = np.einsum("pf,fg,pg->p", of_a, np.linalg.pinv(between), of_b)
    left = (1 - explained(of_a, between)) * (1 - explained(of_b, between))
    with np.errstate(invalid="ignore", divide="ignore"):
        partial = np.where(left > 1e-12, (r - shared) / np.sqrt(left), 0.0)
    return np.clip(partial, -1, 1)
