"""L_act (eq. 6): how similar a generator's maps are to target maps, pair by pair, on one image.

With U and V the bilinear upsampling of a generator's map g and of a target map d to the larger of
both sizes, and the dataset's mean and deviation of each unit, the paper compares

    a = (U g - mean_g) / deviation_g      and      b = (V d - mean_d) / deviation_d

over the positions of one image. As <U g, b> = <g, U^T b>, and |U g|^2 = <g, U^T U g>, nothing is
upsampled: targets are brought to the generator's size once, and every step costs products at that
size. Means pass through U, whose rows sum to 1.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rosetta_steps.resampling import Size, comparison_size, upsampling

FORMS = {
    "published": "mean of a b: eq. 6; it is linear in the generator's map, and has no maximum",
    "cosine": "<a, b> / (|a| |b|)",
    "pearson": "the same, with a and b about their own means on this image",
    "distance": "minus half the mean of (a - b)^2: at most 0; also places a and b at one level",
}
# Of a squared norm relative to its target's: below it, a map is as good as constant.
NOTHING = 1e-6


@dataclass(frozen=True)
class Pairs:
    """Pairs of units of a generator's layer and of target maps of one size.

    Attributes:
        layer: Of the generator.
        channels: Of the generator's layer, one a pair.
        mean, deviation: Of these units over the dataset at the size of comparison, (pair).
        size: (y, x) of the generator's maps.
        target: Maps (image, pair, y, x), of their own size.
        target_mean, target_deviation: Likewise, (pair).
        weight: Of each pair in L_act, (pair); the mean of eq. 6 has ones.
    """

    layer: str
    channels: Sequence[int]
    mean: np.ndarray
    deviation: np.ndarray
    size: Size
    target: Tensor
    target_mean: np.ndarray
    target_deviation: np.ndarray
    weight: np.ndarray | None = None


class Similarity:
    """L_act for a batch of images.

    Args:
        pairs: All pairs, by layer of the generator and size of the targets.
        form: One of FORMS.
        device: Where the generator's maps will be.

    Raises:
        ValueError: There are no pairs, or no such form.
    """

    def __init__(self, pairs: Sequence[Pairs], form: str, device: str = "cpu"):
        if form not in FORMS:
            raise ValueError(f"no similarity '{form}': choose one of {', '.join(FORMS)}.")
        count = sum(len(group.channels) for group in pairs)
        if not count:
            raise ValueError("L_act is a mean over matched pairs, and there are none.")
        self.layers = list(dict.fromkeys(group.layer for group in pairs))
        self.form = form
        weights = sum(float(_weights(group).sum()) for group in pairs)
        self._groups = [
            _Group([_Prepared(part, form, weights) for part in parts], form, device)
            for _, parts in itertools.groupby(pairs, lambda group: group.layer)
        ]

    def __call__(self, maps: Mapping[str, Tensor], images: Tensor | None = None) -> Tensor:
        """L_act of each image, (image).

        Args:
            maps: (image, channel, y, x) of the generator's layers, float32.
            images: Which targets these are compared with; None: all, in order.
        """
        return sum(group.similarities(maps[group.layer], images).sum(1) for group in self._groups)

    def of_pairs(self, maps: Mapping[str, Tensor], images: Tensor | None = None) -> Tensor:
        """Similarity of each pair on each image, (image, pair), in the order of the pairs."""
        parts = [
            group.similarities(maps[group.layer], images) / group.share for group in self._groups
        ]
        return torch.cat(parts, 1)


def _weights(pairs: Pairs) -> np.ndarray:
    return np.ones(len(pairs.channels)) if pairs.weight is None else np.asarray(pairs.weight)


class _Prepared:
    """What a step needs of pairs of one size of targets, in float64: a whole loss rests on it."""

    def __init__(self, pairs: Pairs, form: str, weights: float):
        own, other = pairs.size, tuple(pairs.target.shape[2:])
        size = comparison_size(own, other)
        up, up_target = (
            [torch.from_numpy(upsampling(of[axis], size[axis])) for axis in (0, 1)]
            for of in (own, other)
        )

        def of_pairs(values) -> Tensor:
            return torch.as_tensor(np.asarray(values, np.float64))

        def column(values) -> Tensor:
            return of_pairs(values)[:, None, None]

        count, positions = len(pairs.channels), size[0] * size[1]
        self.layer = pairs.layer
        self.channels = torch.as_tensor(list(pairs.channels))
        self.share = of_pairs(_weights(pairs) / weights)
        self.mean, self.scale = column(pairs.mean), column(1 / np.asarray(pairs.deviation))
        standardised = pairs.target.cpu().double() - column(pairs.target_mean)
        standardised = standardised / column(pairs.target_deviation)
        large = torch.einsum("Yy,nkyx,Xx->nkYX", up_target[0], standardised, up_target[1])
        if form == "pearson":
            large = large - large.mean((2, 3), keepdim=True)
        square = (large**2).sum((2, 3))
        if form in ("cosine", "pearson"):
            # A target that is constant on this image has no direction: such a pair says nothing.
            norm = square.sqrt()
            said = norm > NOTHING * positions**0.5
            large = large * torch.where(said, 1 / norm.clamp_min(1e-30), 0)[..., None, None]
        self.target = torch.einsum("Yy,nkYX,Xx->nkyx", up[0], large, up[1])
        self.square = square
        self.gram = [(matrix.T @ matrix).expand(count, -1, -1) for matrix in up]
        self.sums = torch.outer(up[0].sum(0), up[1].sum(0)).expand(count, -1, -1)
        self.positions = torch.full((count,), float(positions), dtype=torch.float64)


class _Group:
    """Pairs of one layer of the generator, whatever the sizes of their targets."""

    def __init__(self, parts: Sequence[_Prepared], form: str, device: str):
        def joined(values: Sequence[Tensor], axis: int = 0) -> Tensor:
            together = torch.cat(list(values), axis)
            return together.to(device, torch.float32 if together.is_floating_point() else None)

        self.layer, self.form = parts[0].layer, form
        self.target = joined((part.target for part in parts), 1)
        self.square = joined((part.square for part in parts), 1)
        self.channels, self.share, self.mean, self.scale, self.sums, self.positions = (
            joined(getattr(part, name) for part in parts)
            for name in ("channels", "share", "mean", "scale", "sums", "positions")
        )
        self.gram = [joined(part.gram[axis] for part in parts) for axis in (0, 1)]

    def similarities(self, maps: Tensor, images: Tensor | None) -> Tensor:
        """Weighted similarity of each pair, (image, pair)."""
        own = (maps.index_select(1, self.channels).float() - self.mean) * self.scale
        target, square = (
            part if images is None else part[images] for part in (self.target, self.square)
        )
        product = (own * target).sum((2, 3))
        if self.form == "published":
            return self.share * product / self.positions
        norm = (own * (self.gram[0] @ own @ self.gram[1])).sum((2, 3))
        if self.form == "distance":
            return self.share * (product - (norm + square) / 2) / self.positions
        if self.form == "pearson":  # targets sum to nought, so the product needs no centring
            norm = norm - (own * self.sums).sum((2, 3)) ** 2 / self.positions
        least = NOTHING * self.positions
        return self.share * product / torch.maximum(norm, least).sqrt()
