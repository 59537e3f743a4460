"""What sums over each image say of a pair: intervals, and images that carry it.

Correlations are over positions and images, but images are what was drawn: they are resampled, left
out and counted here, never positions.
"""

from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np
import xarray as xr

SEED = 0
CONSTANT = 1e-6  # of a unit's variance over all images


@dataclass(frozen=True)
class ImageSums:
    """Sums over the positions of each image at the size of comparison, (image, pair) each.

    Attributes:
        a, b: Values of both units about their means.
        aa, bb, ab: Their squares and products.
        positions: Positions of a map, (pair).
    """

    a: np.ndarray
    b: np.ndarray
    aa: np.ndarray
    bb: np.ndarray
    ab: np.ndarray
    _: KW_ONLY
    positions: np.ndarray

    @classmethod
    def of(cls, store: xr.Dataset, squares: str = "sum") -> "ImageSums":
        """Those of a store of sums over images (evidence.image_sums).

        Args:
            store: The store.
            squares: "sum" for values about each unit's mean, "left" about its mean map.
        """
        a, b = (store[f"sum_{name}"].values.T for name in "ab")
        aa, bb, ab = (store[f"{squares}_{name}"].values.T for name in ("aa", "bb", "ab"))
        return cls(a, b, aa, bb, ab, positions=store["positions"].values)

    def correlation(self, weights: np.ndarray | None = None) -> np.ndarray:
        """r with images counted so often.

        Args:
            weights: (resample, image); None: every image once.

        Returns:
            (resample, pair) float64; 0 where a unit does not vary on these images, because nothing
            is shared there, and NaN where it never varies.
        """
        if weights is None:
            weights = np.ones((1, len(self.a)))
        values = weights.sum(1)[:, None] * self.positions
        a, b, aa, bb, ab = (
            weights @ sums.astype(np.float64) / values
            for sums in (self.a, self.b, self.aa, self.bb, self.ab)
        )
        return _correlation(a, b, aa, bb, ab, least=self.least)

    def without_each(self) -> np.ndarray:
        """r without each image, (image, pair): the jackknife."""
        left = (len(self.a) - 1) * self.positions
        means = [
            (sums.sum(0, dtype=np.float64) - sums) / left
            for sums in (self.a, self.b, self.aa, self.bb, self.ab)
        ]
        return _correlation(*means, least=self.least)

    @cached_property
    def least(self) -> tuple[np.ndarray, np.ndarray]:
        """Variance below which each unit of a pair counts as constant on some images, (pair).

        What rounding leaves of one that only other images make vary.
        """
        count, found = len(self.a) * self.positions, []
        for first, second in ((self.a, self.aa), (self.b, self.bb)):
            mean = first.sum(0, dtype=np.float64) / count
            found.append(CONSTANT * (second.sum(0, dtype=np.float64) / count - mean * mean))
        return found[0], found[1]

    def amount(self) -> np.ndarray:
        """Covariance over images of both units' means on an image, (pair)."""
        a, b = (sums.astype(np.float64) / self.positions for sums in (self.a, self.b))
        return (a * b).mean(0) - a.mean(0) * b.mean(0)


def _correlation(a, b, aa, bb, ab, *, least: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    of_a, of_b = aa - a * a, bb - b * b
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (ab - a * b) / np.sqrt(of_a * of_b)
    # A unit that never varies has a least variance of 0, and stays NaN.
    silent = ((of_a <= least[0]) & (least[0] > 0)) | ((of_b <= least[1]) & (least[1] > 0))
    return np.clip(np.where(silent, 0.0, r), -1, 1)


def interval(sums: ImageSums, resamples: int, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of r by bootstrap over images, the same draws for every pair.

    Args:
        sums: Sums of the pairs.
        resamples: Number of bootstrap draws.
        level: Share of the draws that lie within.

    Returns:
        Low and high end, (pair) each.
    """
    images = len(sums.a)
    draw = np.random.default_rng(SEED)
    weights = draw.multinomial(images, np.full(images, 1 / images), size=resamples)
    r = sums.correlation(weights.astype(np.float64))
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(r, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def without_top_images(sums: ImageSums, count: int) -> np.ndarray:
    """r without the images that raise it most, (pair).

    Args:
        sums: Sums of the pairs.
        count: Number of images left out: those without which, one at a time, r falls most.
    """
    r = sums.without_each()
    top = np.argsort(np.where(np.isnan(r), np.inf, r), axis=0, kind="stable")[:count]
    left = (len(sums.a) - count) * sums.positions
    means = [
        (s.sum(0, dtype=np.float64) - np.take_along_axis(s, top, 0).sum(0, dtype=np.float64)) / left
        for s in (sums.a, sums.b, sums.aa, sums.bb, sums.ab)
    ]
    return _correlation(*means, least=sums.least)


def effective_images(energy: np.ndarray) -> np.ndarray:
    """Number of images that carry a unit's variance, (unit): (sum e)^2 / sum e^2.

    Args:
        energy: Sum over positions of the squared map about its mean map, (image, unit).
    """
    energy = energy.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return energy.sum(0) ** 2 / np.square(energy).sum(0)
