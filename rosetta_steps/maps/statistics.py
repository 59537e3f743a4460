"""Moments of units: sums over images that give mean and variance at any upsampled size.

Let U be the bilinear upsampling to a larger size. Then mean(U b) = <U^T 1, mean map> / positions,
and the mean of (U b)^2 is the sum of (U^T U) times the mean products of neighbouring positions,
because U^T U is tridiagonal along each axis. So five product maps give both at any larger size,
also for models that are added later. Sums are additive over images and kept in float64.
"""

from math import prod

import numpy as np
import xarray as xr

from rosetta_steps.maps.resampling import Size, size_of, upsampling

# Offsets (y, x) of the neighbour in each product map; the opposite offsets follow by symmetry.
NEIGHBOURS = ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1))


def _pair(y: int, x: int, down: int, right: int):
    here = (slice(0, y - down), slice(max(0, -right), x - max(0, right)))
    there = (slice(down, y), slice(max(0, right), x - max(0, -right)))
    return here, there


def mean_and_variance(moments: xr.Dataset, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of a layer's units upsampled to a size (eq. 1, divided by n m^2).

    Args:
        moments: Moments of the layer, as `MomentSums.dataset` returns them.
        size: Height and width, neither smaller than that of the layer's maps.

    Returns:
        Mean and variance, (channel) float64 each; NaN for a unit that never varies or has values
        that are not finite.
    """
    mean_map = moments["mean_map"].values
    products = moments["mean_product"].values
    own = size_of(mean_map)
    up_y, up_x = (upsampling(own[axis], size[axis]) for axis in (0, 1))
    positions = size[0] * size[1]
    mean = (mean_map @ up_x.sum(0)) @ up_y.sum(0) / positions
    gram_y, gram_x = up_y.T @ up_y, up_x.T @ up_x
    # The variance is the mean square about the mean. Products are centred before they are summed,
    # so that no digits cancel for units far from zero.
    square = np.zeros(len(mean))
    centred = mean_map - mean[:, None, None]
    for index, (down, right) in enumerate(NEIGHBOURS):
        here, there = _pair(*own, down, right)
        rows, columns = np.arange(own[0] - down), np.arange(own[1])[here[1]]
        weight = np.outer(gram_y[rows, rows + down], gram_x[columns, columns + right])
        covariance = products[(slice(None), index, *here)] - (
            mean_map[(slice(None), *here)] * mean_map[(slice(None), *there)]
        )
        shifted = covariance + centred[(slice(None), *here)] * centred[(slice(None), *there)]
        twice = 1 if (down, right) == (0, 0) else 2
        square += twice * np.einsum("cyx,yx->c", shifted, weight)
    useless = (moments["minimum"].values == moments["maximum"].values) | (
        moments["nonfinite"].values > 0
    )
    mean = np.where(useless, np.nan, mean)
    return mean, np.where(useless, np.nan, square / positions)


def mean_square(maps: np.ndarray, size: Size) -> np.ndarray:
    """Return the mean over positions of squared maps, upsampled to a size.

    Args:
        maps: (unit, y, x) float64.
        size: Height and width, at least those of the maps.

    Returns:
        (unit) float64.
    """
    own = size_of(maps)
    gram_y, gram_x = (upsampling(o, s).T @ upsampling(o, s) for o, s in zip(own, size, strict=True))
    return (gram_y @ maps @ gram_x * maps).sum((1, 2)) / (size[0] * size[1])


def bytes_of_sums(shape: tuple[int, ...], splits: int) -> int:
    """Return the bytes of the sums of a layer of shape (channel, y, x), over all splits."""
    return 8 * (1 + len(NEIGHBOURS)) * splits * prod(shape)
