"""Estimates of memory, passes and time of a correlation, before anything is allocated."""

import math
import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace

import torch

from rosetta_steps.correlation.precision import PRECISIONS, add_product
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.correlation.tiles import Tile, tiles_of
from rosetta_steps.correlation.totals import FOLDED
from rosetta_steps.correlation.units import RUN_BYTES, held_values
from rosetta_steps.maps.resampling import Size, meeting_size
from rosetta_steps.maps.running import Stream
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.maps.statistics import bytes_of_sums
from rosetta_steps.runtime.errors import UserError

GIGABYTE = 10**9
# Bytes of a worker besides sums and held maps: Python with torch, and runs of maps of both models,
# which exist as stored, read ahead, centred and projected.
FIXED_BYTES = {kind: 0.65e9 + 8 * size for kind, size in RUN_BYTES.items()}
# Additional bytes of a worker that runs models: their libraries and the memory of a forward pass.
RUNNING_BYTES = 0.6e9
# Bytes of a sum and of a held value, by precision.
BYTES = {"float64": (8, 8), "float32": (4, 4), "tf32": (4, 4), "bfloat16": (4, 2)}
# Config keys of the memory of a worker, by device.
BUDGETS = {"cpu": "memory_gb", "cuda": "gpu_memory_gb"}
# Shares of the memory budget for the maps of a block: of the held model, and if models run of these
# too. Blocks of images are halved until they fit.
HELD_SHARE, RUNNING_SHARE = 0.25, 0.5
FEWEST = 4  # images in a block, about; with fewer, products become inefficient
# Bytes of float16 maps per second. Reading includes decompression; preparing is everything but
# products, such as centring and projecting. Measured with one thread on two cores of an AMD EPYC,
# and on an NVIDIA H200.
READ_RATE, PREPARE_RATE = 0.5e9, {"cpu": 0.75e9, "cuda": 500e9}


@dataclass(frozen=True)
class Outline:
    """Properties of a source of maps on which a plan depends.

    Attributes:
        model: Name of the model.
        channels: Number of channels of each layer, in the order of the forward pass.
        sizes: Height and width of the maps of each layer.
        bytes_a_value: Bytes of a stored value.
        on_the_fly: Whether the maps are computed on the fly instead of read.
        seconds_per_image: Seconds to compute the maps of one image.
        weight_bytes: Bytes of the weights of a model that runs.
    """

    model: str
    channels: Mapping[str, int]
    sizes: Mapping[str, Size]
    bytes_a_value: int
    _: KW_ONLY
    on_the_fly: bool = False
    seconds_per_image: float = 0.0
    weight_bytes: int = 0

    @classmethod
    def of(cls, source: MapSource) -> "Outline":
        """Return the outline of a source."""
        outline = cls(source.attrs["model"], source.channels, source.sizes, source.dtype.itemsize)
        if not isinstance(source, Stream):
            return outline
        return replace(
            outline,
            on_the_fly=True,
            seconds_per_image=source.state.get("seconds_an_image", 0.0),
            weight_bytes=source.state.get("weights_bytes", 0),
        )

    def made_bytes(self, images: int) -> int:
        """Return the bytes that are held while a model computes maps; 0 if maps are read."""
        return self.on_the_fly * images * self.bytes_a_value * sum(self.values().values())

    @property
    def units(self) -> int:
        """Number of units of all layers."""
        return sum(self.channels.values())

    def values(self) -> dict[str, int]:
        """Return the number of values of each layer for one image."""
        return {n: c * math.prod(self.sizes[n]) for n, c in self.channels.items()}

    def of_size(self) -> dict[Size, int]:
        """Return the number of units of each map size."""
        found: dict[Size, int] = {}
        for layer, channels in self.channels.items():
            found[self.sizes[layer]] = found.get(self.sizes[layer], 0) + channels
        return found


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Decisions about a correlation: tiles, block size, workers.

    Attributes:
        tiles: Rectangles of the table; each takes one pass over the images.
        block: Number of images read at a time.
        holds_larger: Whether the held model is the one with more values to hold, or the one with
            fewer.
        workers: Number of workers on this machine.
        worker_bytes: Maximum memory of a worker in bytes.
        device: Device of the workers, "cpu" or "cuda".
        text: Summary to print.
    """

    tiles: list[Tile]
    block: int
    holds_larger: bool
    workers: int
    worker_bytes: float
    device: str
    text: str


def plan(
    a: Outline,
    b: Outline,
    images: int,
    settings: Correlation,
    *,
    cores: int,
    free: float,
    rate: float,
    device: str = "cpu",
    measures_b: bool = False,
) -> Plan:
    """Plan a correlation within the memory budget of a worker.

    Args:
        a: Outline of the first model.
        b: Outline of the second model.
        images: Number of images of both.
        settings: Settings of the correlation, with the memory budget of a worker.
        cores: Number of cores of this job.
        free: Bytes of memory that all workers on a CPU share; inf if each has its own.
        rate: Floating-point operations per second of a worker (matrix_rate).
        device: "cpu" or "cuda", the device of the workers; each CUDA device has one worker.
        measures_b: Whether moments of the second model are taken in the same pass.

    Raises:
        ValueError: The budget is too small for a single pair of layers; the message gives the
            minimum.
    """
    splits, decoys, threads = settings.splits, settings.decoys, settings.threads_per_worker
    budget = getattr(settings, BUDGETS[device]) * GIGABYTE
    strips = -(-images // settings.images_per_strip)
    block = min(settings.images_per_block, settings.images_per_strip, images)
    of_sum, of_held = BYTES[settings.precision]
    fixed = FIXED_BYTES[device]
    sizes = a.of_size(), b.of_size()
    smaller, larger = sorted((held_values(*sizes), held_values(*sizes[::-1])))
    both = [a] if a == b else [a, b]
    running = [outline for outline in both if outline.on_the_fly]

    def maps_of(images: int, held: int) -> float:
        made = sum(outline.made_bytes(images) for outline in running)
        return of_held * images * held + made + (RUNNING_BYTES if running else 0)

    # Sums for moments of all layers of b, beside the budget; a tile may have fewer.
    moments = sums_for_moments(b, splits) if measures_b else 0
    sums_a_pair, tables = splits + decoys, 1 + (splits if splits > 1 else 0) + decoys
    weights = sum(outline.weight_bytes for outline in running)
    room = budget * (RUNNING_SHARE if running else HELD_SHARE)
    beside_all = budget - fixed - weights - of_sum * sums_a_pair * a.units * b.units
    # If models run, a second tile would be a second pass of the model. Smaller blocks are better.
    if running and maps_of(min(block, FEWEST), smaller) <= beside_all:
        room = min(room, beside_all)
    # On a GPU the larger model is held for fewer, larger products, unless that takes a second tile.
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
    worker_bytes = fixed + held + sums + moments
    # This process holds the sums in float64, and the tile's tables; splits and decoys twice.
    together = largest * (8 * sums_a_pair + 4 * (1 if tables == 1 else 2 * tables - 1))
    together += 3 * moments  # with those of a piece, or the moments and what is written of them
    workers = min(cores // threads, strips)
    if device == "cpu" and math.isfinite(free):
        workers = min(workers, int((free - together) // worker_bytes))
    workers = max(1, workers)
    # On disk are the total in float64, twice while it is replaced, and pieces not added to it yet.
    waiting = min(strips, FOLDED + workers)
    on_disk = waiting * (sums + moments) + (4 * sums + 2 * moments if strips > FOLDED else 0)
    on_disk += moments
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
        if not outline.on_the_fly
    )
    # Forward passes were timed with all cores, so their time is not divided by the workers.
    passing = images * len(tiles) * sum(outline.seconds_per_image for outline in running)
    passes = "once" if len(tiles) == 1 else f"{len(tiles)} times"
    text = (
        f"{a.model} x {b.model}: {a.units} x {b.units} units, {images} images\n"
        f"  table {_gigabytes(4 * a.units * b.units)}, in {_count(len(tiles), 'tile')} of sums of "
        f"at most {_gigabytes(sums)}: the images pass {passes}, {_gigabytes(read)} of maps are "
        f"{'made by running ' + ' and '.join(o.model for o in running) if running else 'read'}"
        f"{', and moments of ' + b.model + ' are taken of them' if measures_b else ''}\n"
        f"  {_count(strips, 'piece')} a tile, {block} images at once; {_count(workers, 'worker')} "
        f"of at most {_gigabytes(worker_bytes)} (budget {_gigabytes(budget)}"
        f"{f' and {_gigabytes(moments)} for moments' if moments else ''}), and "
        f"{_gigabytes(together)} to put a tile together; on disk meanwhile "
        f"{_gigabytes(on_disk)} at most\n"
        f"  {products / 1e12:.3g} TFLOP of products; about {_duration(seconds / workers + passing)}"
    )
    return Plan(
        tiles=tiles,
        block=block,
        holds_larger=holds_larger,
        workers=workers,
        worker_bytes=worker_bytes,
        device=device,
        text=text,
    )


def sums_for_moments(outline: Outline, splits: int) -> int:
    """Return the bytes of the sums for moments of all layers of a model."""
    return sum(
        bytes_of_sums((channels, *outline.sizes[layer]), splits)
        for layer, channels in outline.channels.items()
    )


def flop_of(a: Outline, b: Outline) -> int:
    """Return the floating-point operations of the products of two models for one image."""
    return sum(
        2 * units_a * units_b * math.prod(meeting_size(size_a, size_b))
        for size_a, units_a in a.of_size().items()
        for size_b, units_b in b.of_size().items()
    )


# Rows of the square matrices by which a device is timed: large enough to occupy the device, small
# beside its memory.
TIMED_SIZE = {"cpu": 1024, "cuda": 4096}


def matrix_rate(device: str, precision: str) -> float:
    """Measure the floating-point operations per second of matrix products in some milliseconds."""
    size = TIMED_SIZE[device]
    dtype = torch.float64 if precision == "float64" else torch.float32
    total, left = torch.rand(2, size, size, device=device, dtype=dtype)
    right = torch.rand(size, size, device=device).to(PRECISIONS[precision])
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        add_product(total, left, right, precision)
        total[0, 0].item()  # waits for the GPU
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
