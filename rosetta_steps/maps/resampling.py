"""Bilinear upsampling as a matrix, whose adjoint makes upsampling of maps unnecessary.

Upsampling from s to t along one axis is a matrix U (t, s) whose rows sum to 1, so for a map a of
size t and a map b of size s < t

    <a, U b> = <U^T a, b>

and the product at the larger size is a product at the smaller one. (U^T is the adjoint, not area
pooling.) Maps may be rectangular: each axis projects whichever map is larger there.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

if TYPE_CHECKING:  # torch takes two seconds to import, and tables need none of it
    from torch import Tensor

Size = tuple[int, int]


@lru_cache(maxsize=512)
def upsampling(source: int, target: int) -> np.ndarray:
    """Matrix U of bilinear upsampling along one axis, align_corners false, no antialias.

    Args:
        source: Number of positions before, s.
        target: Number of positions after, t >= s.

    Returns:
        Matrix (t, s) float64 whose rows sum to 1; the identity if t = s.
    """
    assert target >= source > 0, (source, target)
    position = np.maximum((np.arange(target) + 0.5) * source / target - 0.5, 0)
    low = np.minimum(np.floor(position).astype(int), source - 1)
    high = np.minimum(low + 1, source - 1)
    weight = position - low
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target), low), 1 - weight)
    np.add.at(matrix, (np.arange(target), high), weight)
    return matrix


def projected(maps: np.ndarray, meeting: Size) -> np.ndarray:
    """Project maps to a meeting size by the adjoint of upsampling, along each axis.

    Args:
        maps: (..., y, x).
        meeting: Height and width, at most those of the maps.

    Returns:
        (..., y, x) of the meeting size: products with maps there are those at the larger size.
    """
    own = size_of(maps)
    up_y, up_x = (upsampling(m, o) for m, o in zip(meeting, own, strict=True))
    return up_y.T @ maps @ up_x


def size_of(maps: "np.ndarray | Tensor | xr.DataArray") -> Size:
    """Return height and width of maps, which are the last two axes."""
    y, x = maps.shape[-2:]
    return y, x


def meeting_size(a: Size, b: Size) -> Size:
    """Return the size at which maps of two units are multiplied: the minimum along each axis."""
    return min(a[0], b[0]), min(a[1], b[1])


def comparison_size(a: Size, b: Size) -> Size:
    """Return the size at which the paper compares two units: the maximum along each axis."""
    return max(a[0], b[0]), max(a[1], b[1])
