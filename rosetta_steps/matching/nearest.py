"""The K most correlated partners of every unit, in both directions, without the whole table.

Tile by tile: the K best of a tile are found, and of all tiles the K best of those. Equals are
ordered by position, so that both are what the whole table gives, to the last tie.
"""

from dataclasses import dataclass

import numpy as np

ROWS = 512  # sorted together


@dataclass(frozen=True)
class Nearest:
    """The nearest partners of some units, the most correlated first.

    Attributes:
        partner: (unit, K) positions of the partners; -1 where there are fewer.
        correlation: (unit, K) float32; NaN there.
    """

    partner: np.ndarray
    correlation: np.ndarray


def nearest(correlation: np.ndarray, neighbours: int, first: int = 0) -> Nearest:
    """The K most correlated columns of each row.

    Args:
        correlation: (row, column), NaN where there is none.
        neighbours: K.
        first: Position of the first column among all.
    """
    rows, columns = correlation.shape
    count = min(neighbours, columns)
    partner = np.empty((rows, count), np.int64)
    for start in range(0, rows, ROWS):
        part = correlation[start : start + ROWS]
        distance = np.where(np.isnan(part), np.inf, -part)
        partner[start : start + ROWS] = np.argsort(distance, axis=1, kind="stable")[:, :count]
    values = np.take_along_axis(correlation, partner, 1)
    return Nearest(np.where(np.isnan(values), -1, partner + first), values)


def nearest_of_all(parts: list[Nearest], neighbours: int) -> Nearest:
    """The K best of what several tiles give for the same units, tiles in order of position."""
    partner = np.concatenate([part.partner for part in parts], 1)
    correlation = np.concatenate([part.correlation for part in parts], 1)
    best = nearest(correlation, neighbours)
    # Candidates stand in the order of their positions where they are equal, as in the whole table.
    found = np.take_along_axis(partner, np.maximum(best.partner, 0), 1)
    return Nearest(np.where(best.partner < 0, -1, found), best.correlation)
