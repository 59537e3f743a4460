"""Formulas of the similarity of two units, a row each.

The engine sums the products of all pairs of maps. Any similarity that is a shared part over two
scales, one of each unit, follows from these sums and from the moments; another one is a new row in
SIMILARITIES. Best buddies, decoys, splits and `rosetta_steps.verify` then take it by its name.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """What is known of some units of a model where they are compared with others.

    Attributes:
        mean: Mean over images and positions, (unit) float64.
        variance: The same, about the mean.
        mean_maps_of: Gives `mean_maps` and `variance_of_mean_maps`, which not every similarity
            needs.
    """

    mean: np.ndarray
    variance: np.ndarray
    mean_maps_of: Callable[[], tuple[np.ndarray, np.ndarray]]

    @property
    def mean_maps(self) -> np.ndarray:
        """Mean over images about the mean, at the size where both meet, (unit, position).

        Their products are those at the larger size of the two.
        """
        return self._mean_maps[0]

    @property
    def variance_of_mean_maps(self) -> np.ndarray:
        """Variance of the mean map over positions, (unit)."""
        return self._mean_maps[1]

    @cached_property
    def _mean_maps(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mean_maps_of()


Rows = slice


@dataclass(frozen=True)
class Similarity:
    """A similarity of two units: shared(a, b) / (scale(a) * scale(b)), in [-1, 1].

    Attributes:
        title: What it is called in stores and on pages.
        shared: Adds to the covariance of some units of a with all units of b, in place. It takes
            the covariance (row, unit_b), the statistics of both, which units of a the rows are, and
            the number of positions of the size of comparison.
        scale: Scale of each unit, (unit).
        prepare: The maps of a unit, (image, y, x), as `by_hand` takes them.
        by_hand: The similarity of both maps of a pair at the same size, in float64.
        about: What a correlation is about, MEAN or MEAN_MAP; None if it is no correlation, of which
            evidence says less (evidence.table).
    """

    title: str
    _: KW_ONLY
    shared: Callable[[np.ndarray, Statistics, Statistics, Rows, int], None]
    scale: Callable[[Statistics], np.ndarray]
    prepare: Callable[[np.ndarray], np.ndarray]
    by_hand: Callable[[np.ndarray, np.ndarray], float]
    about: str | None = None


MEAN, MEAN_MAP = "mean", "mean_map"


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _take_mean_maps(covariance, a: Statistics, b: Statistics, rows: Rows, positions: int) -> None:
    covariance -= a.mean_maps[rows] @ b.mean_maps.T / positions


PEARSON = Similarity(
    "Pearson correlation",
    shared=lambda covariance, a, b, rows, positions: None,
    scale=lambda units: np.sqrt(units.variance),
    prepare=lambda maps: maps,
    by_hand=_correlation,
    about=MEAN,
)
# Eq. 2 of the paper is `pearson`.
SIMILARITIES = {
    "pearson": PEARSON,
    "pearson_without_mean_maps": Similarity(
        "Pearson correlation about mean maps",
        shared=_take_mean_maps,
        scale=lambda units: np.sqrt(np.maximum(units.variance - units.variance_of_mean_maps, 0)),
        prepare=lambda maps: maps - maps.mean(0),
        by_hand=_correlation,
        about=MEAN_MAP,
    ),
}


def similarity_of(attrs: dict) -> Similarity:
    """What a store of correlations holds, from its attributes; an older one has Pearson's r."""
    return SIMILARITIES[attrs.get("similarity", "pearson")]
