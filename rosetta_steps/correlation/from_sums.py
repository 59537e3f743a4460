"""Similarities of a tile's units from their sums of products."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import xarray as xr

from rosetta_steps.correlation.similarities import PEARSON, Similarity, Statistics
from rosetta_steps.correlation.units import Units, places
from rosetta_steps.maps.resampling import Size, comparison_size, meeting_size, projected
from rosetta_steps.maps.splits import of_split, split_of
from rosetta_steps.maps.statistics import mean_and_variance, mean_square

Moments = tuple[np.ndarray, np.ndarray]
ROWS = 512  # processed at a time, to limit the memory besides the table


class TableFromSums:
    """Correlations of a tile, or other similarities, from its sums over images.

    Args:
        sums: Sums of products of centred maps for each pair of map sizes, (split or decoy, unit
            of a, unit of b), decoys after the splits.
        units: Units of both models.
        moments: Moments of both models.
        images: Number of images.
        similarity: What is computed.
        splits: Number of splits.
    """

    def __init__(
        self,
        sums: dict[tuple[Size, Size], np.ndarray],
        units: tuple[Units, Units],
        moments: tuple[xr.DataTree, xr.DataTree],
        images: int,
        *,
        similarity: Similarity = PEARSON,
        splits: int = 1,
    ):
        self.sums, self.units, self.moments = sums, units, moments
        self.images, self.similarity, self.splits = images, similarity, splits
        self._known: dict[tuple[int, Size, int | None], dict[Size, Moments]] = {}

    def table(self, *, split: int | None = None, decoy: int | None = None) -> np.ndarray:
        """Return the table of all images, of a split, or of a decoy.

        Args:
            split: Number of the split to correlate on; None uses all images.
            decoy: Number of the decoy to correlate; None takes the maps as they are.

        Returns:
            Correlations (unit_a, unit_b) float32, units in the order of the layers; NaN where a
            unit never varies.
        """
        table = np.full([sum(u.channels.values()) for u in self.units], np.nan, np.float32)
        where = [places(u) for u in self.units]
        chosen = slice(self.splits) if split is None else slice(split, split + 1)
        if decoy is not None:
            chosen = slice(self.splits + decoy, self.splits + decoy + 1)
        count = self.images
        if split is not None:
            count = int((split_of(self.images, self.splits) == split).sum())
        for sizes, parts in self.sums.items():
            compared = comparison_size(*sizes)
            a, b = (
                Statistics(
                    *self._moments_of(side, size, split)[compared],
                    partial(self._mean_maps_of, side, sizes, split),
                )
                for side, size in enumerate(sizes)
            )
            offset = [
                of.mean - u.centre(size)
                for of, u, size in zip((a, b), self.units, sizes, strict=True)
            ]
            scale = [self.similarity.scale(of_side) for of_side in (a, b)]
            values = compared[0] * compared[1]
            for start in range(0, parts.shape[1], ROWS):
                rows = slice(start, start + ROWS)
                products = parts[chosen, rows].sum(0)
                shared = products / (count * values) - np.outer(offset[0][rows], offset[1])
                self.similarity.shared(shared, a, b, rows, values)
                with np.errstate(invalid="ignore", divide="ignore"):
                    r = shared / scale[0][rows, None] / scale[1]
                # Of a unit whose scale is 0 nothing is to be compared.
                r[np.isinf(r)] = np.nan
                table[np.ix_(where[0][sizes[0]][rows], where[1][sizes[1]])] = np.clip(r, -1, 1)
        return table

    def _moments_of(self, side: int, size: Size, split: int | None) -> dict[Size, Moments]:
        """Mean and variance of the units of a size, by the size of comparison."""
        if (side, size, split) not in self._known:
            others = self.units[1 - side].layers
            compared = dict.fromkeys(comparison_size(size, other) for other in others)
            layers = [
                [mean_and_variance(layer, at) for at in compared]
                for layer in self._layers(side, size, split)
            ]
            found = [
                (np.concatenate(mean), np.concatenate(variance))
                for mean, variance in (zip(*of, strict=True) for of in zip(*layers, strict=True))
            ]
            self._known[side, size, split] = dict(zip(compared, found, strict=True))
        return self._known[side, size, split]

    def _mean_maps_of(self, side: int, sizes: tuple[Size, Size], split: int | None) -> Moments:
        compared, meeting = comparison_size(*sizes), meeting_size(*sizes)
        layers = self._layers(side, sizes[side], split)
        maps = np.concatenate([layer["mean_map"].values for layer in layers])
        maps = maps - self._moments_of(side, sizes[side], split)[compared][0][:, None, None]
        return projected(maps, meeting).reshape(len(maps), -1), mean_square(maps, compared)

    def _layers(self, side: int, size: Size, split: int | None) -> Iterator[xr.Dataset]:
        for name in self.units[side].layers[size]:
            layer = self.moments[side][name].to_dataset()
            yield layer if split is None else of_split(layer, split)
