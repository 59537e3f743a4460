"""L_act (eq. 6), the similarity of a generator's maps to target maps for each pair and image.

Let U and V be the bilinear upsampling of a generator's map g and of a target map d to the larger of
both sizes. With mean and standard deviation of each unit over the dataset, the paper compares

    a = (U g - mean_g) / deviation_g      and      b = (V d - mean_d) / deviation_d

over the positions of one image. Because <U g, V d> = <g, U^T V d> and |U g|^2 = <g, U^T U g>, no
map is upsampled: targets are projected to the generator's size once, by U^T V, and every step costs
products at that size. Rows of U and V sum to 1, so constants stay what they are: a mean can be
taken out before.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import cast

import numpy as np
import torch
from torch import Tensor

from rosetta_steps.inversion.forms import FORMS, NOTHING, Form
from rosetta_steps.maps.resampling import Size, comparison_size, size_of, upsampling
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.errors import UserError

# Targets are prepared in float64, a few at a time: bytes that they may take, and the number of
# arrays of their size, or of the generator's, that exist at the same time.
PREPARING_BYTES, ALIVE = 160e6, 5


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of a unit in one layer of the generator and a target map; all targets have one size.

    Attributes:
        layer: Name of the generator's layer.
        channels: Channel number in that layer for each pair.
        mean, deviation: Mean and standard deviation of the generator's units over the dataset at
            the size of comparison, (pair).
        size: Height and width of the generator's maps.
        target: Target maps (image, pair, y, x), not resized.
        target_mean, target_deviation: Mean and standard deviation of the target units, (pair).
        weight: Weight of each pair in L_act, (pair); the mean of eq. 6 has ones.
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
        pairs: All pairs, grouped by the generator's layer and the size of the targets.
        form: One of FORMS.
        device: Device of the generator's maps.

    Raises:
        ValueError: There are no pairs, or the form does not exist.
    """

    def __init__(self, pairs: Sequence[Pairs], form: str, device: str = "cpu"):
        if form not in FORMS:
            raise UserError(f"no similarity '{form}': choose one of {', '.join(FORMS)}.")
        count = sum(len(group.channels) for group in pairs)
        if not count:
            raise UserError("L_act is a mean over matched pairs, and there are none.")
        self.layers = list(dict.fromkeys(group.layer for group in pairs))
        self.form = FORMS[form]
        weights = sum(float(_weights(group).sum()) for group in pairs)
        self._groups = [
            _Group([_Prepared(part, self.form, weights) for part in parts], self.form, device)
            for _, parts in itertools.groupby(pairs, lambda group: group.layer)
        ]

    @classmethod
    def joined(cls, parts: list["Similarity"]) -> "Similarity":
        """Join several objects along their images; the list is emptied to free memory.

        Args:
            parts: Objects with the same pairs and form but other images.
        """
        whole, others = parts[0], parts[1:]
        parts.clear()
        for group in whole._groups:
            # Groups are joined one at a time, so that only one is in memory twice.
            group.extend([other._groups.pop(0) for other in others])
        return whole

    @property
    def bytes_of_targets(self) -> int:
        """Bytes of the prepared targets of all images."""
        return sum(group.target.nbytes + group.square.nbytes for group in self._groups)

    @property
    def bytes_of_pairs(self) -> int:
        """Bytes of everything that does not depend on the number of images."""
        return sum(group.bytes_of_pairs for group in self._groups)

    def __call__(self, maps: Mapping[str, Tensor], images: Tensor | None = None) -> Tensor:
        """Return L_act of each image, (image).

        Args:
            maps: Maps (image, channel, y, x) float32 of the generator's layers.
            images: Number of the target of each image; None compares with all targets in order.
        """
        of_groups = (group.similarities(maps[group.layer], images).sum(1) for group in self._groups)
        return cast(Tensor, sum(of_groups))  # the sum is a Tensor, because there are pairs

    def of_pairs(self, maps: Mapping[str, Tensor], images: Tensor | None = None) -> Tensor:
        """Return the similarity of each pair on each image, (image, pair)."""
        parts = [
            group.similarities(maps[group.layer], images) / group.share for group in self._groups
        ]
        return torch.cat(parts, 1)


def bytes_of_preparing(pairs: Sequence[Pairs]) -> dict[str, int]:
    """Return the memory in use while the targets of one image are prepared.

    Returns:
        Values of `working` and `working_at_most` of memory.Needs.
    """
    of_maps = [ALIVE * _bytes_of_a_map(part) for part in pairs]
    wholes = [of * len(part.channels) for of, part in zip(of_maps, pairs, strict=True)]
    most = int(max(PREPARING_BYTES, *of_maps))
    return {"working": min(most, max(wholes)), "working_at_most": most}


def _bytes_of_a_map(pairs: Pairs) -> int:
    return 8 * max(prod(pairs.size), prod(size_of(pairs.target)))


def _weights(pairs: Pairs) -> np.ndarray:
    return np.ones(len(pairs.channels)) if pairs.weight is None else np.asarray(pairs.weight)


class _Prepared:
    """Prepared targets and constants of pairs whose targets have one size.

    They are computed in float64, a few targets at a time, because the loss depends on them.
    """

    def __init__(self, pairs: Pairs, form: Form, weights: float):
        own, other = pairs.size, size_of(pairs.target)
        size = comparison_size(own, other)
        up, up_target = (
            [torch.from_numpy(upsampling(of[axis], size[axis])) for axis in (0, 1)]
            for of in (own, other)
        )

        def of_pairs(values) -> Tensor:
            return torch.as_tensor(np.asarray(values, np.float64))

        def column(values) -> Tensor:
            return of_pairs(values)[:, None, None]

        def resampled(axes: list[Tensor], maps: Tensor) -> Tensor:
            return torch.einsum("Yy,nkyx,Xx->nkYX", axes[0], maps, axes[1])

        count, positions = len(pairs.channels), size[0] * size[1]
        onto = [a.T @ b for a, b in zip(up, up_target, strict=True)]
        gram = [matrix.T @ matrix for matrix in up_target]
        share = torch.outer(up_target[0].sum(0), up_target[1].sum(0)) / positions
        self.layer = pairs.layer
        self.channels = torch.as_tensor(list(pairs.channels))
        self.share = of_pairs(_weights(pairs) / weights)
        self.mean, self.scale = column(pairs.mean), column(1 / np.asarray(pairs.deviation))
        mean, deviation = column(pairs.target_mean), column(pairs.target_deviation)
        images = len(pairs.target)
        # Stored in float32, as steps use them; in float64 they would take gigabytes.
        self.target = torch.empty(images, count, *own, dtype=torch.float32)
        self.square = torch.empty(images, count, dtype=torch.float32)
        for image, pair in _pieces(images, count, _bytes_of_a_map(pairs)):
            target = pairs.target[image, pair].cpu().double()
            target = (target - mean[pair]) / deviation[pair]
            if form.centred:
                target = target - (target * share).sum((2, 3), keepdim=True)
            square = (target * resampled(gram, target)).sum((2, 3))
            if form.normalised:
                # A target that is constant on an image has no cosine: the pair contributes 0.
                norm = square.clamp_min(0).sqrt()
                said = norm > NOTHING * positions**0.5
                target = target * torch.where(said, 1 / norm.clamp_min(1e-30), 0)[..., None, None]
            self.target[image, pair] = resampled(onto, target).float()
            self.square[image, pair] = square.float()
        self.gram = [(matrix.T @ matrix).expand(count, -1, -1) for matrix in up]
        self.sums = torch.outer(up[0].sum(0), up[1].sum(0)).expand(count, -1, -1)
        self.positions = torch.full((count,), float(positions), dtype=torch.float64)


def _pieces(images: int, pairs: int, bytes_a_map: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of images and of pairs whose targets are prepared together."""
    most = max(1, int(PREPARING_BYTES // (ALIVE * bytes_a_map)))
    for image in image_blocks(images, min(images, most)):
        for pair in image_blocks(pairs, max(1, most // (image.stop - image.start))):
            yield image, pair


class _Group:
    """Pairs of one layer of the generator, with targets of any size."""

    def __init__(self, parts: Sequence[_Prepared], form: Form, device: str):
        def joined(values: Iterable[Tensor], axis: int = 0) -> Tensor:
            narrow = [
                part.to(device, torch.float32 if part.is_floating_point() else None)
                for part in values
            ]
            return narrow[0].contiguous() if len(narrow) == 1 else torch.cat(narrow, axis)

        self.layer, self.form = parts[0].layer, form
        self.target = joined((part.target for part in parts), 1)
        self.square = joined((part.square for part in parts), 1)
        self.channels, self.share, self.mean, self.scale, self.sums, self.positions = (
            joined(getattr(part, name) for part in parts)
            for name in ("channels", "share", "mean", "scale", "sums", "positions")
        )
        self.gram = [joined(part.gram[axis] for part in parts) for axis in (0, 1)]

    @property
    def bytes_of_pairs(self) -> int:
        """Bytes of everything except the targets."""
        names = ("channels", "share", "mean", "scale", "sums", "positions")
        return sum(part.nbytes for part in (*self.gram, *(getattr(self, n) for n in names)))

    def extend(self, others: Sequence["_Group"]) -> None:
        """Append the images of other groups with the same pairs."""
        self.target = torch.cat([self.target, *(other.target for other in others)])
        self.square = torch.cat([self.square, *(other.square for other in others)])

    def similarities(self, maps: Tensor, images: Tensor | None) -> Tensor:
        """Return the weighted similarity of each pair, (image, pair)."""
        own = (maps.index_select(1, self.channels).float() - self.mean) * self.scale
        target, square = (
            part if images is None else part[images] for part in (self.target, self.square)
        )
        product = (own * target).sum((2, 3))
        norm = None
        if self.form.needs_norm:
            norm = (own * (self.gram[0] @ own @ self.gram[1])).sum((2, 3))
            if self.form.centred:  # targets sum to zero, so the product needs no centring
                norm = norm - (own * self.sums).sum((2, 3)) ** 2 / self.positions
        numerator, denominator = self.form.parts(product, norm, square, self.positions)
        return self.share * numerator / denominator
