"""Regions of images: rectangles on a generator's grid, and what they cover of another grid."""

from dataclasses import dataclass

import numpy as np

from rosetta_steps.maps.resampling import Size

SEED = 0


@dataclass(frozen=True)
class Regions:
    """A rectangle for each image, in whole cells of a grid.

    Attributes:
        rows, columns: First cell and the one after the last, (image, 2) int.
        size: Height and width of the grid.
    """

    rows: np.ndarray
    columns: np.ndarray
    size: Size

    def part(self, images: slice) -> "Regions":
        """Those of some images."""
        return Regions(self.rows[images], self.columns[images], self.size)

    def mask(self) -> np.ndarray:
        """Which cells of the grid are inside, (image, y, x) bool."""
        return self.coverage(self.size) == 1

    def coverage(self, size: Size) -> np.ndarray:
        """Share of every cell of another grid over the same image that is inside, (image, y, x).

        Args:
            size: Height and width of the other grid.
        """
        sides = zip((self.rows, self.columns), self.size, size, strict=True)
        y, x = (_covered(ends / own, other) for ends, own, other in sides)
        return y[:, :, None] * x[:, None, :]


def _covered(ends: np.ndarray, cells: int) -> np.ndarray:
    # Length of each cell's part between both ends, as a share of the cell.
    edges = np.arange(cells + 1) / cells
    low = np.maximum(edges[:-1], ends[:, :1])
    high = np.minimum(edges[1:], ends[:, 1:])
    # Rounded, because thirds of an image are no whole numbers.
    return np.round(np.maximum(high - low, 0) * cells, 9)


def random_regions(images: int, size: Size, seed: int = SEED) -> Regions:
    """Draw a rectangle of half the height and half the width of a grid for each image.

    Args:
        images: Number of images.
        size: Height and width of the grid; of one cell, the region is all there is.
        seed: The same seed draws the same regions.
    """
    random = np.random.default_rng(seed)
    ends = []
    for cells in size:
        length = max(1, round(cells / 2))
        first = random.integers(0, cells - length + 1, images)
        ends.append(np.stack([first, first + length], 1))
    return Regions(ends[0], ends[1], size)


def mean_inside(values: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Mean over the positions that are covered, weighted by how much, (image, channel).

    Args:
        values: (image, channel, y, x).
        coverage: (image, y, x) in [0, 1].

    Returns:
        NaN for an image of which nothing is covered.
    """
    total = coverage.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.einsum("icyx,iyx->ic", values, coverage) / total[:, None]
