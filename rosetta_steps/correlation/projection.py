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


class Unusable(Exception):
    """A kernel of a device cannot be built, or does not compute what a processor does.

    Here, and not beside the kernel (fused), because that needs Triton to be imported.
    """
