"""Stored maps centred and projected to the sizes where they meet others, by one kernel of a GPU.

As projection.Projection, but from float16 as it is stored: maps are never widened in memory, and
read once for each group of sizes. All products are those of float16 on tensor cores, summed in
float32: whatever is no float16 is the sum of two, the second 2^11 times as large as it counts where
it could be lost to the smallest numbers of float16. What centres a unit is subtracted from what its
map is projected to.

Needs Triton, which comes with torch for CUDA on Linux.

Shape suffixes: U units, B images of a block, Y and X positions, M positions where two sizes meet.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.errors import TritonError

from rosetta_steps.correlation.projection import Memory, Projection, Unusable
from rosetta_steps.maps.resampling import Size, upsampling

# Positions along an axis of the sizes of a group, or of the one size of it, if that is larger.
TOGETHER, LARGEST = 64, 128
# Of the part of a map that is multiplied at once: positions along y, where they divide those of the
# map and where not; along x, at least and at most; and of both axes.
ROWS, FEWER_ROWS = 256, 64
COLUMNS, VALUES = (64, 128), 2**14
SMALLEST = 16  # matrix that tensor cores multiply


@dataclass(frozen=True)
class Group:
    """Sizes that are projected to together: their weights stand side by side.

    Attributes:
        sizes: With the place of each among the positions of the group.
        positions: Along an axis, a power of two.
        along_y: (2, position, own y) float16: the weights are the sum of both.
        along_x: (2, own x, position), likewise.
        of_one: (2, position) float32: what ones are projected to along y, and along x.
        scale: Power of two that keeps maps projected along y within float16.
    """

    sizes: list[tuple[Size, int]]
    positions: int
    along_y: Tensor
    along_x: Tensor
    of_one: Tensor
    scale: float

    @classmethod
    def of(cls, own: Size, sizes: list[tuple[Size, int]], padded: Size, device) -> "Group":
        """Project maps of a size, padded, to some sizes."""
        end = max(place + max(size) for size, place in sizes)
        positions = max(SMALLEST, triton.next_power_of_2(end))
        y, x = (torch.zeros(length, positions, dtype=torch.float64) for length in padded)
        for size, place in sizes:
            y[: own[0], place : place + size[0]] = torch.from_numpy(upsampling(size[0], own[0]))
            x[: own[1], place : place + size[1]] = torch.from_numpy(upsampling(size[1], own[1]))
        of_one = torch.stack([y.sum(0), x.sum(0)]).float().to(device)
        scale = 2.0 ** -max(0, y.sum(0).max().log2().ceil().item())
        parts = (_in_two(weights).to(device) for weights in (y.T, x))
        return cls(sizes, positions, *parts, of_one, scale)


class FusedProjection:
    """From stored maps of one size to matrices at the sizes where they meet others.

    Args:
        size: (y, x) of the maps.
        meetings: Sizes, none larger than the maps along any axis, nor than LARGEST.
        device: To compute on.
    """

    CHECKED = (4, 32)  # images and units, evenly spread
    LEAST = 2.0**-14  # below it float16 has fewer bits, and so has what follows from it
    ERRORS = {torch.float32: 1e-5, torch.bfloat16: 1e-2}  # of a value, as it is kept

    def __init__(self, size: Size, meetings: tuple[Size, ...], device: torch.device):
        self.size, self.meetings = size, list(meetings)
        whole = [max(SMALLEST, triton.next_power_of_2(positions)) for positions in size]
        # Of a large group, less at once: an RTX 4090 has 99 KB for it, an H100 twice that.
        large = max(map(max, meetings)) > TOGETHER
        divides = whole[0] == size[0] and not large
        rows = min(whole[0], ROWS if divides else FEWER_ROWS)
        least, most = COLUMNS
        columns = min(whole[1], least if large else max(least, min(most, VALUES // rows)))
        padded = tuple(triton.cdiv(s, p) * p for s, p in zip(size, (rows, columns), strict=True))
        self.groups = [Group.of(size, sizes, padded, device) for sizes in _together(self.meetings)]
        exact = not any(g.along_y[1].any() or g.along_x[1].any() for g in self.groups)
        self.places = [(n, *place) for n, group in enumerate(self.groups) for place in group.sizes]
        self.weights = [
            tuple(getattr(group, name) for group in self.groups)
            for name in ("along_y", "along_x", "of_one")
        ]
        self.fixed = [
            tuple(tl.constexpr(group.positions) for group in self.groups),
            tuple(tl.constexpr(group.scale) for group in self.groups),
            tuple(tl.constexpr(number) for number, _, _ in self.places),
            tuple(tl.constexpr(y) for _, (y, _), _ in self.places),
            tuple(tl.constexpr(x) for _, (_, x), _ in self.places),
            tuple(tl.constexpr(place) for _, _, place in self.places),
            *size, *padded, rows, columns, exact,
        ]  # fmt: skip
        self.options = {
            "num_warps": 8 if large else 4,
            "num_stages": 1 if large or padded[0] <= TOGETHER else 2,
        }
        self.checked: set[tuple] = set()
        self.unusable: Unusable | None = None

    def __call__(self, maps_BUYX: Tensor, offset_U: Tensor, into: dict[Size, Tensor]) -> None:
        """Centre and project.

        Args:
            maps_BUYX: float16.
            offset_U: float32, subtracted from each unit.
            into: Matrices (U, B M) of each meeting size to write, contiguous.

        Raises:
            Unusable: There is no kernel, or the first maps came out otherwise than they do in
                float64 on a processor. From then on always.
        """
        if self.unusable:
            raise self.unusable
        if maps_BUYX.stride()[2:] != (self.size[1], 1):
            maps_BUYX = maps_BUYX.contiguous()
        try:
            self._launch(maps_BUYX, offset_U, into)
            # What Triton builds another kernel for.
            variant = (
                *(matrix.dtype for matrix in into.values()),
                *(t.data_ptr() % 16 == 0 for t in (maps_BUYX, *into.values())),
                *(stride % 16 == 0 for stride in maps_BUYX.stride()[:2]),
            )
            if variant not in self.checked:
                self._check(maps_BUYX, offset_U, into)
                self.checked.add(variant)
        except torch.OutOfMemoryError:
            raise
        except (TritonError, RuntimeError, OSError, subprocess.SubprocessError) as error:
            if "out of memory" in str(error):
                raise torch.OutOfMemoryError(str(error)) from error
            self.unusable = Unusable(f"Triton's kernel does not run here ({error})")
        except Unusable as error:
            self.unusable = error
        if self.unusable:
            raise self.unusable

    def _launch(self, maps_BUYX: Tensor, offset_U: Tensor, into: dict[Size, Tensor]) -> None:
        images, units = maps_BUYX.shape[:2]
        _project[(units * images,)](*self.arguments(maps_BUYX, offset_U, into), **self.options)

    def arguments(self, maps_BUYX: Tensor, offset_U: Tensor, into: dict[Size, Tensor]) -> tuple:
        """Of the kernel, for such maps."""
        images, units = maps_BUYX.shape[:2]
        out = tuple(into[size] for _, size, _ in self.places)
        # Where a row begins is not passed on.
        assert all(matrix.is_contiguous() and len(matrix) == units for matrix in out)
        strides = maps_BUYX.stride()[:2]
        return (maps_BUYX, *strides, offset_U, images, *self.weights, out, *self.fixed)

    def _check(self, maps_BUYX: Tensor, offset_U: Tensor, into: dict[Size, Tensor]) -> None:
        images, units = (
            torch.linspace(0, total - 1, min(total, few), device=maps_BUYX.device).long()
            for total, few in zip(maps_BUYX.shape[:2], self.CHECKED, strict=True)
        )
        maps_UBYX = maps_BUYX[images][:, units].transpose(0, 1).double().cpu()
        constant = offset_U[units, None, None, None].double().cpu()
        exact, most = (
            Projection(self.size, self.meetings, Memory("cpu", torch.float64))(maps.contiguous())
            for maps in (
                maps_UBYX - constant,
                maps_UBYX.abs().clamp(min=self.LEAST) + constant.abs(),
            )
        )
        # One value that is not finite makes a whole map so, or its neighbourhood: either is right.
        judged = (maps_UBYX - constant).isfinite().all((2, 3))
        for meeting, expected in exact.items():
            each = into[meeting].unflatten(1, (len(maps_BUYX), -1))  # unit, image, position
            found = each[units][:, images].flatten(1).double().cpu()
            right = (found - expected).abs() <= self.ERRORS[into[meeting].dtype] * most[meeting]
            if not right.unflatten(1, (len(images), -1))[judged].all():
                raise Unusable(
                    f"maps of {self.size[0]} x {self.size[1]} projected to {meeting[0]} x "
                    f"{meeting[1]} differ on this device from those of the processor"
                )


@cache
def fused_projection(
    size: Size, meetings: tuple[Size, ...], device: torch.device
) -> FusedProjection:
    """One for all pieces of this process: it is checked once."""
    return FusedProjection(size, meetings, device)


def _together(sizes: list[Size]) -> Iterator[list[tuple[Size, int]]]:
    group, end = [], 0
    for size in sorted(sizes, key=max, reverse=True):
        if group and end + max(size) > TOGETHER:
            yield group
            group, end = [], 0
        group.append((size, end))
        end += max(size)
    yield group


def _in_two(weights: Tensor) -> Tensor:
    high = weights.half()
    return torch.stack([high, (weights - high.double()).half()])


@triton.jit(do_not_specialize=["offset", "images"])  # no kernel for every number of images
def _project(
    maps, image_stride, unit_stride, offset, images, along_y, along_x, of_one, out,
    P, SCALE, GROUP, OUT_Y, OUT_X, PLACE,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, Y: tl.constexpr, X: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    # One map, to one group of sizes after the other.
    unit, image = (tl.program_id(0) // images).to(tl.int64), tl.program_id(0) % images
    own = maps + image.to(tl.int64) * image_stride + unit * unit_stride
    constant = tl.load(offset + unit)
    for g in tl.static_range(len(P)):
        found = _of_group(
            own, along_y[g], along_x[g], P[g], SCALE[g], HEIGHT, WIDTH, Y, X, ROWS, COLUMNS, EXACT
        )
        p = tl.arange(0, P[g])
        of_y, of_x = tl.load(of_one[g] + p), tl.load(of_one[g] + P[g] + p)
        found -= constant * of_y[:, None] * of_x[None, :]
        for i in tl.static_range(len(GROUP)):
            if GROUP[i] == g:
                y, x = p[:, None] - PLACE[i], p[None, :] - PLACE[i]
                inside = (y >= 0) & (y < OUT_Y[i]) & (x >= 0) & (x < OUT_X[i])
                row = out[i] + (unit * images + image) * (OUT_Y[i] * OUT_X[i])
                tl.store(row + y * OUT_X[i] + x, found, mask=inside)


@triton.jit
def _of_group(
    own, along_y, along_x, P: tl.constexpr, SCALE: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, Y: tl.constexpr, X: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    # A stripe of columns is projected along y, and what that gives, in two parts, along x.
    p = tl.arange(0, P)
    total = tl.zeros((P, P), tl.float32)
    low = tl.zeros((P, P), tl.float32)
    for left in range(0, X, COLUMNS):
        x = left + tl.arange(0, COLUMNS)
        weights_x = along_x + x[:, None] * P + p[None, :]
        of_stripe = tl.load(weights_x)  # asked for before it is needed
        stripe = tl.zeros((P, COLUMNS), tl.float32)
        for top in range(0, Y, ROWS):
            y = top + tl.arange(0, ROWS)
            at = own + y[:, None] * WIDTH + x[None, :]
            if HEIGHT == Y and WIDTH == X:
                part = tl.load(at)
            else:
                part = tl.load(at, mask=(y[:, None] < HEIGHT) & (x[None, :] < WIDTH), other=0.0)
            weights = along_y + p[:, None] * Y + y[None, :]
            stripe = tl.dot(tl.load(weights), part, stripe)
            if not EXACT:
                stripe = tl.dot(tl.load(weights + P * Y), part, stripe)
        stripe *= SCALE
        high = stripe.to(tl.float16)
        rest = ((stripe - high.to(tl.float32)) * 2048.0).to(tl.float16)
        total = tl.dot(high, of_stripe, total)
        low = tl.dot(rest, of_stripe, low)
        if not EXACT:
            total = tl.dot(high, tl.load(weights_x + X * P), total)
    return (total + low * (1.0 / 2048.0)) * (1.0 / SCALE)
