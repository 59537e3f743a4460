"""Bring centred maps to the sizes where they meet others, by the adjoint of the upsampling.

Shape suffixes: U units, B images of a block, Y and X positions, M positions where two sizes meet.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rosetta_steps.resampling import Size, upsampling

# Positions up to which both axes are projected by one product: fewer, larger ones are faster.
SMALL_MAP = 256


class Memory:
    """Memory that is used again for the next block: to ask for new takes as long as to fill it."""

    def __init__(self, device: str, dtype: torch.dtype):
        self.kind = {"device": device, "dtype": dtype}
        self._kept: dict[object, Tensor] = {}

    def get(self, key: object, shape: tuple[int, ...]) -> Tensor:
        """A tensor of a shape, whose content is that of its last use."""
        values = math.prod(shape)
        if key not in self._kept or self._kept[key].numel() < values:
            self._kept[key] = torch.empty(values, **self.kind)
        return self._kept[key][:values].view(shape)


class Projection:
    """From maps of one size to matrices at the sizes where they meet others.

    Args:
        size: (y, x) of the maps.
        meetings: Sizes, none larger than the maps along any axis.
        memory: For the results, which last until the next maps are projected.
    """

    def __init__(self, size: Size, meetings: Sequence[Size], memory: Memory):
        self.size, self.meetings, self.memory = size, list(meetings), memory
        axes = {
            meeting: [
                torch.from_numpy(upsampling(m, s)).to(**memory.kind)
                for m, s in zip(meeting, size, strict=True)
            ]
            for meeting in meetings
            if meeting != size
        }
        small = math.prod(size) <= SMALL_MAP
        both = {m: torch.kron(*matrices) for m, matrices in axes.items() if small}
        self.both = torch.cat(list(both.values()), 1) if both else None
        ends = itertools.accumulate(map(math.prod, both), initial=0)
        self.place = {m: slice(e, e + math.prod(m)) for m, e in zip(both, ends, strict=False)}
        self.columns = {m: matrices[1] for m, matrices in axes.items() if not small}
        # The rows of all meetings are projected by one product, which reads the maps once.
        rows = {m[0]: axes[m][0].T for m in self.columns if m[0] < size[0]}
        self.rows = torch.cat(list(rows.values())) if rows else None
        ends = itertools.accumulate(rows, initial=0)
        self.where = {m: slice(start, start + m) for m, start in zip(rows, ends, strict=False)}

    def __call__(self, maps_UBYX: Tensor) -> dict[Size, Tensor]:
        """Matrices (U, B M) of each meeting size."""
        units_and_images = maps_UBYX.shape[:2]
        if self.rows is not None:
            shape = (*units_and_images, len(self.rows), self.size[1])
            out = self.memory.get("rows", shape)
            short = torch.matmul(self.rows, maps_UBYX, out=out)
        if self.both is not None:
            out = self.memory.get("both", (*units_and_images, self.both.shape[1]))
            together = torch.matmul(maps_UBYX.flatten(2), self.both, out=out)
        found = {}
        for index, meeting in enumerate(self.meetings):
            out = None
            if meeting != self.size:
                out = self.memory.get(index, (*units_and_images, *meeting))
            if out is None:
                found[meeting] = maps_UBYX
            elif meeting in self.place:
                out.flatten(2).copy_(together[..., self.place[meeting]])
                found[meeting] = out
            else:
                same = meeting[0] == self.size[0]
                part = maps_UBYX if same else short[..., self.where[meeting[0]], :]
                if meeting[1] == self.size[1]:
                    found[meeting] = out.copy_(part)
                else:
                    found[meeting] = torch.matmul(part, self.columns[meeting], out=out)
        return {meeting: matrix.flatten(1) for meeting, matrix in found.items()}


class Inexact(Exception):
    """A device did not compute what a processor does."""


class StoredProjection:
    """The same from float16 maps as they are stored, for a GPU: they are never widened.

    The first product is one of tensor cores. Where the weights are no float16 they are the sum of
    two, so that it is as exact as one of float32; for units far from zero less so than where maps
    are centred first, by much less than float16 rounds them. What centres a unit is subtracted at
    the end. The first maps are held against the processor: a kernel may be wrong at one size and
    on one card.

    Args:
        size: (y, x) of the maps.
        meetings: Sizes, none larger than the maps along any axis.
        device: To compute on.
    """

    LOW = 2.0**11  # of the second part of the weights, by which it is larger than it counts
    CHECKED = (2, 8)  # images and units
    ERRORS = {torch.float32: 1e-5, torch.bfloat16: 5e-3}  # of a value, as it is kept

    def __init__(self, size: Size, meetings: Sequence[Size], device: torch.device):
        self.size, self.meetings, self.checked = size, list(meetings), False
        self.rows, self.of_one, columns = {}, {}, {}
        for meeting in meetings:
            y, x = (
                torch.from_numpy(upsampling(m, s)).float().to(device)
                for m, s in zip(meeting, size, strict=True)
            )
            self.rows[meeting] = y.T
            self.of_one[meeting] = torch.outer(y.sum(0), x.sum(0))
            if meeting != size:
                columns[meeting[1]] = x
        ends = itertools.accumulate(columns, initial=0)
        self.where = {m: slice(end, end + m) for m, end in zip(columns, ends, strict=False)}
        self.columns, self.exact = None, True
        if columns:
            whole = torch.cat(list(columns.values()), 1)
            high = whole.half()
            low = (self.LOW * (whole - high.float())).half()
            self.exact = not low.any()
            self.columns = high if self.exact else torch.cat([high, low], 1)

    def __call__(self, maps_BUYX: Tensor, offset: Tensor, into: dict[Size, Tensor]) -> None:
        """Centre and project.

        Args:
            maps_BUYX: float16.
            offset: (U, 1, 1, 1) float32, subtracted from each unit.
            into: Matrices (U, B M) of each meeting size to write, their rows contiguous.

        Raises:
            Inexact: The first maps came out otherwise than they do in float64 on a processor.
        """
        images, units, y, x = maps_BUYX.shape
        if self.columns is not None:
            short = widened_product(maps_BUYX.reshape(-1, x), self.columns)
            if not self.exact:
                high, low = short.chunk(2, 1)
                short = high.add(low, alpha=1 / self.LOW)
            short = short.view(images, units, y, -1)
        for meeting in self.meetings:
            if meeting == self.size:
                found = maps_BUYX
            else:
                found = torch.matmul(self.rows[meeting], short[..., self.where[meeting[1]]])
            out = into[meeting].view(units, images, *meeting)
            torch.sub(found.transpose(0, 1), offset * self.of_one[meeting], out=out)
        if not self.checked:
            self._check(maps_BUYX, offset, into)
            self.checked = True

    def _check(self, maps_BUYX: Tensor, offset: Tensor, into: dict[Size, Tensor]) -> None:
        images, units = self.CHECKED
        few = maps_BUYX[:images, :units].transpose(0, 1).double().cpu()
        constant = offset[:units].double().cpu()
        exact, most = (
            Projection(self.size, self.meetings, Memory("cpu", torch.float64))(maps.contiguous())
            for maps in (few - constant, few.abs() + constant.abs())
        )
        for meeting, expected in exact.items():
            found = into[meeting][:units, : expected.shape[1]].double().cpu()
            error = self.ERRORS[into[meeting].dtype]
            if not ((found - expected).abs() <= error * most[meeting]).all():
                raise Inexact(
                    f"maps of {self.size[0]} x {self.size[1]} projected to {meeting[0]} x "
                    f"{meeting[1]} differ on this device from those of the processor"
                )


def widened_product(a: Tensor, b: Tensor) -> Tensor:
    """The product of two float16 matrices, summed and kept in float32."""
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else a.float() @ b.float()
