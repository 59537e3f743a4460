"""What correlating two models takes: bytes, passes and seconds, before anything is allocated."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from rosetta_steps.correlation.precision import PRECISIONS, add_product
from rosetta_steps.correlation.tiles import Tile, tiles_of
from rosetta_steps.correlation.totals import FOLDED
from rosetta_steps.correlation.units import RUN_BYTES, held_values
from rosetta_steps.maps.resampling import Size, meeting_size
from rosetta_steps.maps.running import Stream
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.runtime.errors import UserError

GIGABYTE = 10**9
# Python with torch, and runs of maps of both models: stored, read ahead, centred, and projected. (A
# GPU's kernel, which does not widen them, takes half of that.)
FIXED_BYTES = {kind: 0.65e9 + 8 * size for kind, size in RUN_BYTES.items()}
# Besides, where models run: their libraries, a pass, and what it leaves.
RUNNING_BYTES = 0.6e9
# A sum and a held value, by precision.
BYTES = {"float64": (8, 8), "float32": (4, 4), "tf32": (4, 4), "bfloat16": (4, 2)}
# What the config calls the memory of a worker.
BUDGETS = {"cpu": "memory_gb", "cuda": "gpu_memory_gb"}
# Of the budget that the maps of a block may take, of the held model and of models that run; blocks
# of images are halved until they do.
HELD_SHARE, RUNNING_SHARE = 0.25, 0.5
FEWEST = 4  # images at once, about, below which products are small
# Bytes of float16 maps a second: reading includes decompression, preparing is centring, projecting
# and what else is not products. Seen on two cores of an AMD EPYC, by one thread, and on an NVIDIA
# H200.
READ_RATE, PREPARE_RATE = 0.5e9, {"cpu": 0.75e9, "cuda": 500e9}


@dataclass(frozen=True)
class Outline:
    """Of a source of maps: what a plan follows from.

    Attributes:
        model: Its name.
        channels: Of each layer, in the order of the forward pass.
        sizes: Of the maps of each layer.
        bytes_a_value: As stored.
        runs: Whether the maps are made and not read.
        seconds: Of making those of an image.
        weights: Bytes of the model that runs.
    """

    model: str
    channels: Mapping[str, int]
    sizes: Mapping[str, Size]
    bytes_a_value: int
    runs: bool = False
    seconds: float = 0.0
    weights: int = 0

    @classmethod
    def of(cls, source: MapSource) -> "Outline":
        """The outline of a source."""
        outline = cls(source.attrs["model"], source.channels, source.sizes, source.dtype.itemsize)
        if not isinstance(source, Stream):
            return outline
        return replace(
            outline,
            runs=True,
            seconds=source.state.get("seconds_an_image", 0.0),
            weights=source.state.get("weights_bytes", 0),
        )

    def made_bytes(self, images: int) -> int:
        """Held while the maps of some images are made."""
        return self.runs * images * self.bytes_a_value * sum(self.values().values())

    @property
    def units(self) -> int:
        """Of all layers."""
        return sum(self.channels.values())

    def values(self) -> dict[str, int]:
        """Values of each layer on one image."""
        return {n: c * math.prod(self.sizes[n]) for n, c in self.channels.items()}

    def of_size(self) -> dict[Size, int]:
        """Units of each size."""
        found: dict[Size, int] = {}
        for layer, channels in self.channels.items():
            found[self.sizes[layer]] = found.get(self.sizes[layer], 0) + channels
        return found


@dataclass(frozen=True)
class Plan:
    """How two models will be correlated.

    Attributes:
        tiles: Rectangles of the table, a pass of the images each.
        block: Images at once.
        holds_larger: Whether the model with more to hold is held, or that with less.
        workers: At work together on this machine.
        worker_bytes: Memory of a worker at most.
        text: To print.
    """

    tiles: list[Tile]
    block: int
    holds_larger: bool
    workers: int
    worker_bytes: float
    text: str


def plan(
    a: Outline, b: Outline, images: int, strips: int, block: int, budget: float, cores: int,
    threads: int, free: float, rate: float, splits: int = 1, decoys: int = 0,
    precision: str = "float32",
    device: str = "cpu",
) -> Plan:  # fmt: skip
    """Plan a correlation within the memory that a worker may take.

    Args:
        a: Of the first model; b: of the second.
        images: In both.
        strips: Pieces of work of a tile.
        block: Images at once, if the budget allows.
        budget: Bytes of a worker.
        cores: Of this job.
        threads: Of a worker.
        free: Bytes of memory that are there for all workers, where they share them.
        rate: Multiplications and additions a second of a worker (matrix_rate).
        splits: Parts of the images whose sums are kept apart.
        decoys: Number of further sums with images moved.
        precision: One of precision.PRECISIONS.
        device: "cpu" or "cuda": of the workers, one on each CUDA device.

    Raises:
        ValueError: The budget is too small for a single pair of layers; says the least that would
            do.
    """
    of_sum, of_held = BYTES[precision]
    fixed = FIXED_BYTES[device]
    sizes = a.of_size(), b.of_size()
    smaller, larger = sorted((held_values(*sizes), held_values(*sizes[::-1])))
    both = [a] if a == b else [a, b]
    running = [outline for outline in both if outline.runs]

    def maps_of(images: int, held: int) -> float:
        made = sum(outline.made_bytes(images) for outline in running)
        return of_held * images * held + made + (RUNNING_BYTES if running else 0)

    sums_a_pair, tables = splits + decoys, 1 + (splits if splits > 1 else 0) + decoys
    weights = sum(outline.weights for outline in running)
    room = budget * (RUNNING_SHARE if running else HELD_SHARE)
    beside_all = budget - fixed - weights - of_sum * sums_a_pair * a.units * b.units
    # Of models that run, a second tile would be a second pass: rather fewer images at once.
    if running and maps_of(min(block, FEWEST), smaller) <= beside_all:
        room = min(room, beside_all)
    # On a GPU fewer, larger products are worth its memory, but no second tile.
    holds_larger = device == "cuda" and maps_of(block, larger) <= min(room, beside_all)
    while block > 1 and maps_of(block, smaller) > room:
        block = -(-block // 2)
    held = maps_of(block, larger if holds_larger else smaller) + weights
    least = fixed + held
    least += of_sum * sums_a_pair * max(a.channels.values()) * max(b.channels.values())
    if least > budget:
        raise UserError(
            f"{a.model} x {b.model}: correlation.{BUDGETS[device]} is {budget / GIGABYTE:.3g}, "
            f"and a worker needs at least {least / GIGABYTE:.3g} GB: {fixed / GIGABYTE:.2g} for "
            f"itself, {held / GIGABYTE:.2g} for maps{' and models' if running else ''}, the "
            "rest for sums of the two largest layers. Raise it, or take fewer layers."
        )
    pairs = (budget - fixed - held) / (of_sum * sums_a_pair)
    tiles = tiles_of((a.channels, b.channels), (a.values(), b.values()), pairs)
    largest = max(_units(a, tile.a) * _units(b, tile.b) for tile in tiles)
    sums = of_sum * sums_a_pair * largest
    worker_bytes = fixed + held + sums
    # Sums in float64, and the tile's correlations, of each split and decoy as well, twice.
    together = largest * (8 * sums_a_pair + 4 * (1 if tables == 1 else 2 * tables - 1))
    workers = min(cores // threads, strips)
    if device == "cpu":
        workers = min(workers, int((free - together) // worker_bytes))
    workers = max(1, workers)
    # A total in float64, twice while it is written, and pieces that are not in it.
    on_disk = min(strips, FOLDED + workers) * sums + (4 * sums if strips > FOLDED else 0)
    read = images * sum(
        outline.bytes_a_value * sum(outline.values()[layer] for layer in layers)
        for tile in tiles
        for outline, layers in ((a, tile.a), (b, tile.b))
    )
    products = images * flop_of(a, b) * (1 + decoys)
    seconds = products / rate
    seconds += read / PREPARE_RATE[device] / (threads if device == "cpu" else 1)
    seconds += sum(
        images * outline.bytes_a_value * sum(outline.values().values()) / threads / READ_RATE
        for outline in (a, b)
        if not outline.runs
    )
    # Passes of a model were timed with all cores.
    passing = images * len(tiles) * sum(outline.seconds for outline in running)
    passes = "once" if len(tiles) == 1 else f"{len(tiles)} times"
    text = (
        f"{a.model} x {b.model}: {a.units} x {b.units} units, {images} images\n"
        f"  table {_gigabytes(4 * a.units * b.units)}, in {_count(len(tiles), 'tile')} of sums of "
        f"at most {_gigabytes(sums)}: the images pass {passes}, {_gigabytes(read)} of maps are "
        f"{'made by running ' + ' and '.join(o.model for o in running) if running else 'read'}\n"
        f"  {_count(strips, 'piece')} a tile, {block} images at once; {_count(workers, 'worker')} "
        f"of at most {_gigabytes(worker_bytes)} (budget {_gigabytes(budget)}), and "
        f"{_gigabytes(together)} to put a tile together; on disk meanwhile "
        f"{_gigabytes(on_disk)} at most\n"
        f"  {products / 1e12:.3g} TFLOP of products; about {_duration(seconds / workers + passing)}"
    )
    return Plan(tiles, block, holds_larger, workers, worker_bytes, text)


def flop_of(a: Outline, b: Outline) -> int:
    """Multiplications and additions that the products of two models take for an image."""
    return sum(
        2 * units_a * units_b * math.prod(meeting_size(size_a, size_b))
        for size_a, units_a in a.of_size().items()
        for size_b, units_b in b.of_size().items()
    )


# Of the product that a device is timed with: it occupies it, and is small beside its memory.
TIMED_SIZE = {"cpu": 1024, "cuda": 4096}


def matrix_rate(device: str, precision: str) -> float:
    """Multiplications and additions a second of matrix products, measured in some milliseconds."""
    size = TIMED_SIZE[device]
    dtype = torch.float64 if precision == "float64" else torch.float32
    total, left = torch.rand(2, size, size, device=device, dtype=dtype)
    right = torch.rand(size, size, device=device).to(PRECISIONS[precision])
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        add_product(total, left, right, precision)
        total[0, 0].item()  # waits for a device
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / min(seconds)


def _units(outline: Outline, layers: list[str]) -> int:
    return sum(outline.channels[layer] for layer in layers)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _gigabytes(size: float) -> str:
    return f"{size / GIGABYTE:.2f} GB" if size >= 5e6 else f"{size / 1e6:.2f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{math.ceil(seconds)} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
