"""Search for the K most correlated partners of every unit without holding the whole table.

The K best partners within each tile are found first, then the K best among those of all tiles. Ties
are ordered by position, so the result equals that of the whole table.
"""

from dataclasses import dataclass

import numpy as np

ROWS = 512  # rows that are sorted at the same time


@dataclass(frozen=True)
class Nearest:
    """Nearest partners of some units, the most correlated first.

    Attributes:
        partner: Positions of the partners, (unit, K) int64; -1 where a unit has fewer than K.
        correlation: Pearson correlations with them, (unit, K) float32; NaN where there is none.
    """

    partner: np.ndarray
    correlation: np.ndarray


def nearest(correlation: np.ndarray, neighbours: int, first: int = 0) -> Nearest:
    """Return the K most correlated columns of each row.

    Args:
        correlation: Correlations of one tile, (row, column); NaN where there is none.
        neighbours: Number of partners K.
        first: Position of the tile's first column in the whole table.
    """
    rows, columns = correlation.shape
    count = min(neighbours, columns)
    partner = np.empty((rows, count), np.int64)
    for start in range(0, rows, ROWS):
        part = correlation[start : start + ROWS]
        distance = np.where(np.isnan(part), np.inf, -part)
        partner[start : start + ROWS] = _smallest(distance, count)
    values = np.take_along_axis(correlation, partner, 1)
    return Nearest(np.where(np.isnan(values), -1, partner + first), values)


def _smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Columns of the smallest values of each row, in their order; equal values by position."""
    if not count:
        return np.empty((len(values), 0), np.int64)
    limit = np.partition(values, count - 1, axis=1)[:, [count - 1]]
    among = values <= limit
    clear = among.sum(1) == count  # no equal value is left out
    found = np.empty((len(values), count), np.int64)
    chosen = np.nonzero(among[clear])[1].reshape(-1, count)
    order = np.argsort(np.take_along_axis(values[clear], chosen, 1), axis=1, kind="stable")
    found[clear] = np.take_along_axis(chosen, order, 1)
    found[~clear] = np.argsort(values[~clear], axis=1, kind="stable")[:, :count]
    return found


def nearest_of_all(parts: list[Nearest], neighbours: int) -> Nearest:
    """Merge the nearest partners that several tiles give for the same units.

    Args:
        parts: Results of the tiles, in the order of their columns.
        neighbours: Number of partners K.
    """
    partner = np.concatenate([part.partner for part in parts], 1)
    correlation = np.concatenate([part.correlation for part in parts], 1)
    best = nearest(correlation, neighbours)
    # Equal candidates are in the order of their positions, so ties break as in the whole table.
    found = np.take_along_axis(partner, np.maximum(best.partner, 0), 1)
    return Nearest(np.where(best.partner < 0, -1, found), best.correlation)
