"""Projection of centred maps to the sizes where they meet others, by the adjoint of upsampling.

Shape suffixes: U units, B images of a block, Y and X positions, M positions where two sizes meet.
"""

import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import scipy.sparse
import torch
from torch import Tensor

from rosetta_steps.maps.resampling import Size, upsampling

# Number of positions of a map up to which one product projects both axes, because fewer, larger
# products are faster.
SMALL_MAP = {"cpu": 64, "cuda": 256}
# Bytes of maps that are projected together: on a CPU few enough that intermediate results stay in
# the cache; on a GPU a whole run.
TOGETHER_BYTES = {"cpu": 2**21, "cuda": 2**29}

with warnings.catch_warnings():
    # torch warns once in a process of its beta. Pieces may run in threads, which share one filter
    # of warnings, so none of them may change it.
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
    torch.eye(1).to_sparse_csr()


class Memory:
    """Buffers that are reused for the next block, because allocation takes as long as filling.

    Args:
        device: Device of the buffers.
        dtype: Dtype of the buffers.
        pinned: Whether they are memory of the host that a device copies without waiting.
    """

    def __init__(self, device: str, dtype: torch.dtype, *, pinned: bool = False):
        self.kind: dict[str, Any] = {"device": device, "dtype": dtype}
        self.pinned = pinned
        self._kept: dict[object, Tensor] = {}

    def get(self, key: object, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor of a shape in the buffer of a key; its content is undefined."""
        values = math.prod(shape)
        if key not in self._kept or self._kept[key].numel() < values:
            self._kept[key] = torch.empty(values, **self.kind, pin_memory=self.pinned)
        return self._kept[key][:values].view(shape)


class Projection:
    """Function from maps of one size to matrices at the sizes where they meet others.

    Args:
        size: Height and width of the maps.
        meetings: Sizes of the results, none larger than the maps along any axis.
        memory: Buffers for the results, which are overwritten when the next maps are projected.
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
        self.both: Tensor | None = None
        self.rows: Rows | None = None
        self.place: dict[Size, slice] = {}
        self.columns: dict[Size, Tensor] = {}
        if axes and math.prod(size) <= SMALL_MAP[torch.device(memory.kind["device"]).type]:
            self.both = torch.cat([torch.kron(*matrices) for matrices in axes.values()], 1)
            self.place = _one_after_the_other({meeting: math.prod(meeting) for meeting in axes})
        elif axes:
            self.columns = {meeting: columns for meeting, (_, columns) in axes.items()}
            rows = {m[0]: weights.T for m, (weights, _) in axes.items() if m[0] < size[0]}
            self.rows = Rows(rows, size[1]) if rows else None

    def __call__(self, maps_UBYX: Tensor) -> dict[Size, Tensor]:
        """Project maps (U, B, Y, X) to a matrix (U, B M) for each meeting size."""
        units, images = maps_UBYX.shape[:2]
        maps_NYX = maps_UBYX.flatten(0, 1)
        found = {self.size: maps_NYX} if self.size in self.meetings else {}
        for index, meeting in enumerate(self.meetings):
            if meeting != self.size:
                found[meeting] = self.memory.get(index, (units * images, *meeting))
        if self.both is not None:
            out = self.memory.get("both", (len(maps_NYX), self.both.shape[1]))
            together = torch.matmul(maps_NYX.flatten(1), self.both, out=out)
            for meeting, place in self.place.items():
                found[meeting].flatten(1).copy_(together[:, place])
        elif self.columns:
            step = len(maps_NYX) if self.rows is None else self.rows.together
            for start in range(0, len(maps_NYX), step):
                these = slice(start, start + step)
                self._each_axis(maps_NYX[these], {m: found[m][these] for m in self.columns})
        return {meeting: matrix.view(units, -1) for meeting, matrix in found.items()}

    def _each_axis(self, maps_NYX: Tensor, into: dict[Size, Tensor]) -> None:
        short = {self.size[0]: maps_NYX}
        if self.rows is not None:
            short |= self.rows(maps_NYX, self.memory)
        for meeting, columns in self.columns.items():
            part = short[meeting[0]]
            if meeting[1] == self.size[1]:
                into[meeting].copy_(part)
            elif part.is_contiguous():  # one large product is faster than one for each map
                torch.mm(part.flatten(0, 1), columns, out=into[meeting].flatten(0, 1))
            else:
                torch.matmul(part, columns, out=into[meeting])


def _one_after_the_other(lengths: dict) -> dict:
    ends = itertools.accumulate(lengths.values(), initial=0)
    return {key: slice(end, end + n) for end, (key, n) in zip(ends, lengths.items(), strict=False)}


class Rows:
    """Projection of maps along y to all meeting sizes at once.

    A position of a map contributes to at most two positions of each size, so that nearly all
    weights are 0. On a CPU they form a sparse matrix, whose rows are those of all maps for one size
    after the other; on a GPU they form a dense one.

    Args:
        weights: For each number of positions of a result, weights (position of the result, position
            of the map).
        width: Width of the maps.

    Attributes:
        together: Maximum number of maps in a call.
    """

    def __init__(self, weights: dict[int, Tensor], width: int):
        self.weights, self.all_weights = weights, torch.cat(list(weights.values()))
        device = self.all_weights.device.type
        bytes_a_map = self.all_weights.shape[1] * width * self.all_weights.itemsize
        self.together = max(1, TOGETHER_BYTES[device] // bytes_a_map)
        self.sparse = device == "cpu"
        self._of_maps: dict[int, Tensor] = {}

    def __call__(self, maps_NYX: Tensor, memory: Memory) -> dict[int, Tensor]:
        """Project maps (map, y, x), at most `together`, to (map, position, x) for each size.

        The results are overwritten by the next call.
        """
        maps, _, width = maps_NYX.shape
        if not self.sparse:
            short = memory.get("short", (maps, len(self.all_weights), width))
            torch.matmul(self.all_weights, maps_NYX, out=short)
            places = _one_after_the_other({size: size for size in self.weights})
            return {size: short[:, place] for size, place in places.items()}
        if maps not in self._of_maps:
            self._of_maps[maps] = repeated(self.weights.values(), maps)
        rows = memory.get("short", (maps * len(self.all_weights), width))
        torch.addmm(rows, self._of_maps[maps], maps_NYX.flatten(0, 1), beta=0, out=rows)
        parts = rows.split([maps * size for size in self.weights])
        found = zip(self.weights, parts, strict=True)
        return {size: part.view(maps, size, width) for size, part in found}


def repeated(matrices: Iterable[Tensor], count: int) -> Tensor:
    """Return a sparse CSR matrix: for each matrix a block-diagonal one of `count` copies of it."""
    blocks = [
        scipy.sparse.kron(scipy.sparse.eye_array(count, dtype=m.dtype), m, format="csr")
        for m in (scipy.sparse.csr_array(matrix.numpy()) for matrix in matrices)
    ]
    whole = scipy.sparse.vstack(blocks, format="csr")
    starts, columns, values = map(torch.from_numpy, (whole.indptr, whole.indices, whole.data))
    return torch.sparse_csr_tensor(starts, columns, values, whole.shape, check_invariants=True)
