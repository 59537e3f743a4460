"""Stored maps centred and projected to every size where they meet others, in one pass on a GPU.

As projection.Projection, but from float16 as it is stored, so that maps are read once and never
widened in memory. Products of tensor cores that keep the error of float32: along y those of
float16 maps with weights in one or two float16 parts, summed in float32; along x three of TF32
each. The constant that centres a unit is subtracted from what its map is projected to.

Needs Triton, which comes with torch for CUDA on Linux.
"""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from rosetta_steps.resampling import Size, upsampling

# Positions along an axis: of a stripe and a tile of a map, of the largest size where maps may meet,
# and of all that a pass projects to: their sums stay in registers.
X_TILE, Y_TILE, LARGEST, TOGETHER = 32, 64, 128, 160


class Weights:
    """Of the projection from one size to another, padded to powers of two.

    Attributes:
        size: (y, x) projected to.
        padded: Positions along both axes.
        along_y: (part, y, own y) float16; the parts add up to the weights.
        along_x: (own x, x) float32.
        of_one: (y, x) float32: what a map of ones is projected to.
    """

    def __init__(self, own: Size, size: Size, device: torch.device):
        self.size, self.padded = size, padded(max(size))
        of_y, of_x = (
            torch.from_numpy(upsampling(m, s)).float().to(device)
            for m, s in zip(size, own, strict=True)
        )
        whole = torch.zeros(self.padded, padded(own[0]), device=device)
        whole[: size[0], : own[0]] = of_y.T
        high = whole.half()
        low = (whole - high.float()).half()
        self.along_y = torch.stack([high, low] if low.any() else [high])
        self.along_x = torch.zeros(padded(own[1]), self.padded, device=device)
        self.along_x[: own[1], : size[1]] = of_x
        self.of_one = torch.outer(whole.sum(1), self.along_x.sum(0))


def padded(positions: int) -> int:
    """The power of two, at least 16, that holds so many."""
    return max(16, triton.next_power_of_2(positions))


class FusedProjection:
    """From stored maps of one size to matrices at the sizes where they meet others.

    Args:
        size: (y, x) of the maps.
        meetings: Other sizes, none larger than the maps along any axis, nor than LARGEST.
        device: A CUDA device.
    """

    def __init__(self, size: Size, meetings: list[Size], device: torch.device):
        self.size = size
        self.passes = list(_passes([Weights(size, meeting, device) for meeting in meetings]))

    def __call__(self, maps_BUYX: Tensor, offset_U: Tensor, into: dict[Size, Tensor]) -> None:
        """Centre and project.

        Args:
            maps_BUYX: float16, the positions of a map one behind the other.
            offset_U: float32, subtracted from each unit.
            into: Matrices (U, B M) of each meeting size to write, their rows contiguous.
        """
        images, units, height, width = maps_BUYX.shape
        y, x = map(padded, self.size)
        for together in self.passes:
            out = tuple(into[weights.size] for weights in together)
            _project[(images * units,)](
                maps_BUYX,
                maps_BUYX.stride(0),
                maps_BUYX.stride(1),
                offset_U,
                images,
                height,
                width,
                tuple(weights.along_y for weights in together),
                tuple(weights.along_x for weights in together),
                tuple(weights.of_one for weights in together),
                out,
                tuple(matrix.stride(0) for matrix in out),
                tuple(weights.size[0] for weights in together),
                tuple(weights.size[1] for weights in together),
                tuple(tl.constexpr(weights.padded) for weights in together),
                tuple(tl.constexpr(len(weights.along_y)) for weights in together),
                y,
                x,
                min(Y_TILE, y),
                min(X_TILE, x),
                num_warps=4 if max(weights.padded for weights in together) <= 64 else 8,
            )


@cache
def usable(device: torch.device) -> bool:
    """Whether kernels can be built, for which Triton wants a C compiler; if not, says so."""
    try:
        out = torch.empty(1, 49, device=device)
        maps = torch.zeros(1, 1, 16, 16, dtype=torch.float16, device=device)
        FusedProjection((16, 16), [(7, 7)], device)(maps, out[0], {(7, 7): out})
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"Triton builds no kernels here, projections are slower: {error}", file=sys.stderr)
        return False
    return True


def _passes(sizes: list[Weights]) -> Iterator[list[Weights]]:
    group: list[Weights] = []
    for weights in sizes:
        if group and sum(w.padded for w in group) + weights.padded > TOGETHER:
            yield group
            group = []
        group.append(weights)
    if group:
        yield group


@triton.jit
def _project(
    maps, image_stride, unit_stride, offset, images, height, width,
    along_y, along_x, of_one, out, stride, out_y, out_x,
    P, PARTS,
    Y: tl.constexpr, X: tl.constexpr, Y_TILE: tl.constexpr, X_TILE: tl.constexpr,
):  # fmt: skip
    # One map: for each stripe of its columns the products along y, then its share of those along x.
    unit, image = tl.program_id(0) // images, tl.program_id(0) % images
    own = maps + image.to(tl.int64) * image_stride + unit.to(tl.int64) * unit_stride
    totals = ()
    for i in tl.static_range(len(P)):
        totals = totals + (tl.zeros((P[i], P[i]), tl.float32),)
    for left in range(0, X, X_TILE):
        xs = left + tl.arange(0, X_TILE)
        shorts = ()
        for i in tl.static_range(len(P)):
            shorts = shorts + (tl.zeros((P[i], X_TILE), tl.float32),)
        for top in range(0, Y, Y_TILE):
            ys = top + tl.arange(0, Y_TILE)
            inside = (ys[:, None] < height) & (xs[None, :] < width)
            tile = tl.load(own + ys[:, None] * width + xs[None, :], mask=inside, other=0.0)
            added = ()
            for i in tl.static_range(len(P)):
                added = added + (_along_y(shorts[i], tile, along_y[i], ys, P[i], PARTS[i], Y),)
            shorts = added
        added = ()
        for i in tl.static_range(len(P)):
            added = added + (_along_x(totals[i], shorts[i], along_x[i], xs, P[i]),)
        totals = added
    constant = tl.load(offset + unit)
    for i in tl.static_range(len(P)):
        centred = totals[i] - constant * _square(of_one[i], P[i])
        ys, xs = tl.arange(0, P[i])[:, None], tl.arange(0, P[i])[None, :]
        row = out[i] + unit.to(tl.int64) * stride[i] + image * out_y[i] * out_x[i]
        tl.store(row + ys * out_x[i] + xs, centred, mask=(ys < out_y[i]) & (xs < out_x[i]))


@triton.jit
def _along_y(short, tile, weights, ys, P: tl.constexpr, PARTS: tl.constexpr, Y: tl.constexpr):
    places = tl.arange(0, P)[:, None] * Y + ys[None, :]
    for part in tl.static_range(PARTS):
        short = tl.dot(tl.load(weights + part * P * Y + places), tile, short)
    return short


@triton.jit
def _along_x(total, short, weights, xs, P: tl.constexpr):
    of_stripe = tl.load(weights + xs[:, None] * P + tl.arange(0, P)[None, :])
    return tl.dot(short, of_stripe, total, input_precision="tf32x3")


@triton.jit
def _square(values, P: tl.constexpr):
    return tl.load(values + tl.arange(0, P)[:, None] * P + tl.arange(0, P)[None, :])
