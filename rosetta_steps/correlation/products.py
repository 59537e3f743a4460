"""Sums over images of products of maps, from which correlations follow by centring and scaling.

Each block of images is read once. For the block, the maps of one model of the tile are held in
memory, projected to every size where they meet maps of the other model. The other model is
processed in runs of units: a run is read, centred, projected and multiplied while the next run is
read. There is one product for each map size of the other model and each size where it meets the
held model.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from rosetta_steps.correlation.decoys import moved_images
from rosetta_steps.correlation.precision import PRECISIONS, add_product
from rosetta_steps.correlation.projection import Memory, Projection
from rosetta_steps.correlation.units import RUN_BYTES, Run, Units, holds_first, runs_of
from rosetta_steps.maps.moments import SumsOfLayers
from rosetta_steps.maps.resampling import Size, meeting_size
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.runtime.budgets import image_blocks


@cache  # the allocator does not share memory between streams
def sending_stream() -> torch.cuda.Stream:
    """Return this process's CUDA stream for transfers of maps to the device."""
    return torch.cuda.Stream()


class Model:
    """Units of one model, which are read, centred and projected run by run.

    Args:
        source: Source of the maps.
        units: Units of the model that are in the tile.
        others: Sizes of the other model's maps.
        images: Number of images in a block.
        device: Device to compute on.
        precision: One of PRECISIONS.
        run_bytes: Approximate bytes of the maps of a run as float32.

    Attributes:
        measured: Sums for moments, to which all maps that are read are added; may be None.
    """

    def __init__(
        self, source: MapSource, units: Units, others: list[Size], images: int, *, device: str,
        precision: str, run_bytes: float | None = None,
    ):  # fmt: skip
        self.source, self.units, self.precision = source, units, precision
        self.device = torch.device(device)
        # A separate CUDA stream, because the default one would wait for the products before it.
        self.sending = sending_stream() if self.device.type == "cuda" else None
        self.pinned: Memory | None = None
        exact = torch.float64 if precision == "float64" else torch.float32
        self.measured: SumsOfLayers | None = None
        self.memory, self.kept = Memory(device, exact), Memory(device, PRECISIONS[precision])
        together = [source.channels_per_read(layer) for layer in units.channels]
        self.runs = runs_of(units, images, run_bytes or RUN_BYTES[self.device.type], together)
        self.projections = {
            size: Projection(
                size, list(dict.fromkeys(meeting_size(size, o) for o in others)), self.memory
            )
            for size in units.layers
        }
        self.offset = {
            layer: torch.from_numpy(offset).to(**self.memory.kind)[:, None, None, None]
            for layer, offset in units.offset.items()
        }

    def read(self, run: Run, block: slice) -> list[Tensor]:
        """Read the maps of a run to the device, one tensor (image, channel, y, x) for each part."""
        maps = [torch.as_tensor(self.source.read(n, block, part)) for n, part in run.parts]
        if self.measured is not None:
            for (layer, channels), of_part in zip(run.parts, maps, strict=True):
                self.measured.add(block, layer, of_part, channels.start)
        if self.sending is None or all(part.is_cuda for part in maps):
            return maps
        if self.pinned is None:
            self.pinned = Memory("cpu", maps[0].dtype, pinned=True)
        with torch.cuda.stream(self.sending):
            sent = []
            for number, part in enumerate(maps):
                # From pinned memory the device copies at its full rate.
                place = self.pinned.get(number, tuple(part.shape)).copy_(part)
                sent.append(place.to(self.device, non_blocking=True))
        self.sending.synchronize()  # and the pinned memory may be used again
        for part in sent:  # keeps its memory until the default stream has used it
            part.record_stream(torch.cuda.default_stream())
        return sent

    def matrices(
        self, run: Run, read: list[Tensor], order: Tensor | None = None,
        into: dict[Size, Tensor] | None = None,
    ) -> dict[Size, Tensor]:  # fmt: skip
        """Return matrices (unit, image x position) of a run for every size where it meets others.

        Args:
            run: Run of units.
            read: Maps of the run, as `read` returns them.
            order: Order of the images; None keeps it.
            into: Contiguous matrices to fill, by size. None returns matrices that are overwritten
                with the next run.
        """
        if order is not None:
            read = [stored[order] for stored in read]
        images, units = len(read[0]), run.rows.stop - run.rows.start
        maps_UBYX = self.memory.get("maps", (units, images, *run.size))
        for rows, offset, stored in self._parts(run, read):
            maps_UBYX[rows].copy_(stored.transpose(0, 1))
            maps_UBYX[rows] -= offset
        found = self.projections[run.size](maps_UBYX)
        for meeting, matrix in (into or {}).items():
            matrix.copy_(found[meeting])
        return into or found

    def _parts(self, run: Run, read: list[Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
        start = 0
        for (layer, channels), stored in zip(run.parts, read, strict=True):
            rows = slice(start, start + stored.shape[1])
            yield rows, self.offset[layer][channels], stored
            start = rows.stop


class Held:
    """Maps of the held model for one block of images, at every size where it meets the other.

    Args:
        model: Model to be held.
    """

    def __init__(self, model: Model):
        self.model = model
        # Sorted by size: for square maps, all rows that meet the other model at one size are then
        # contiguous, so that one product covers them.
        self.sizes = sorted(model.units.layers, key=lambda size: (size[0] * size[1], size))
        self.rows: dict[tuple[Size, Size], slice] = {}
        self.total: dict[Size, int] = {}
        for size in self.sizes:
            for meeting in model.projections[size].meetings:
                start = self.total.get(meeting, 0)
                self.total[meeting] = start + model.units.count(size)
                self.rows[size, meeting] = slice(start, self.total[meeting])
        self.matrices: dict[Size, Tensor] = {}

    def fill(
        self, block: slice, order: Tensor | None = None,
        maps: Iterator[list[Tensor]] | None = None,
    ) -> None:  # fmt: skip
        """Replace the held maps by those of another block of images.

        Args:
            block: Block of images.
            order: Order of the images; None keeps it.
            maps: Iterator over the maps of the model's runs on the block; None reads them here.
        """
        model = self.model
        if maps is None:
            maps = ahead([(model, run, block) for run in model.runs])
        for meeting, rows in self.total.items():
            columns = (block.stop - block.start) * meeting[0] * meeting[1]
            self.matrices[meeting] = model.kept.get(meeting, (rows, columns))
        for run in model.runs:
            into = {}
            for meeting in model.projections[run.size].meetings:
                first = self.rows[run.size, meeting].start
                place = slice(first + run.rows.start, first + run.rows.stop)
                into[meeting] = self.matrices[meeting][place]
            model.matrices(run, next(maps), order, into)


class Sums:
    """Sums of products of one map size of the other model with some sizes of the held model.

    Attributes:
        size: Map size of the other model.
        meeting: Size at which the maps meet.
        sizes: Map sizes of the held model.
        rows: Rows of the held matrix of that meeting size.
        total: Sums, (split or decoy, unit of the other model, row), float32 or float64.
    """

    def __init__(self, held: Held, size: Size, meeting: Size, sizes: list[Size]):
        self.size, self.meeting, self.sizes = size, meeting, sizes
        self.rows = slice(held.rows[sizes[0], meeting].start, held.rows[sizes[-1], meeting].stop)
        self.total: Tensor | None = None

    def add(
        self,
        held: Held,
        other: Model,
        rows: slice,
        matrix: Tensor,
        images: Sequence[int],
        *,
        moved: Tensor,
    ) -> None:
        """Add the products of a block of images for some units of the other model.

        Args:
            held: The held model.
            other: The other model.
            rows: Units of the other model, as rows of `total`.
            matrix: Their maps, (unit, image x position).
            images: Number of images in each split; the images of a split are contiguous.
            moved: Columns of images, (decoy, image): whose maps of the other model take each place.
        """
        left = held.matrices[self.meeting][self.rows]
        if self.total is None:
            shape = (len(images) + len(moved), other.units.count(self.size), len(left))
            self.total = torch.zeros(shape, **other.memory.kind)
        positions, end = self.meeting[0] * self.meeting[1], 0
        for split, count in enumerate(images):
            columns, end = slice(end, end + count * positions), end + count * positions
            total, a, b = self.total[split, rows], matrix[:, columns], left[:, columns]
            add_product(total, a, b, other.precision)
        for decoy, order in enumerate(moved, len(images)):
            maps = matrix.view(len(matrix), -1, positions)
            elsewhere = other.memory.get("moved", tuple(maps.shape))
            torch.index_select(maps, 1, order, out=elsewhere)
            add_product(self.total[decoy, rows], elsewhere.flatten(1), left, other.precision)

    def by_size(self, held: Held) -> Iterator[tuple[Size, Tensor]]:
        """Yield each size of the held model and its sums (split or decoy, of other, of held)."""
        assert self.total is not None, "a block is added first"
        for size in self.sizes:
            rows = held.rows[size, self.meeting]
            here = slice(rows.start - self.rows.start, rows.stop - self.rows.start)
            yield size, self.total[:, :, here]


def sums_of(held: Held, other: Model) -> list[Sums]:
    """Create the sums for all pairs of sizes; contiguous sizes of the held model share one."""
    found = []
    for size, projection in other.projections.items():
        for meeting in projection.meetings:
            together: list[Size] = []
            for own in held.sizes:
                here = meeting_size(own, size) == meeting
                follows = (
                    here
                    and together
                    and (held.rows[own, meeting].start == held.rows[together[-1], meeting].stop)
                )
                if together and not follows:
                    found.append(Sums(held, size, meeting, together))
                    together = []
                if here:
                    together = [*together, own]
            if together:
                found.append(Sums(held, size, meeting, together))
    return found


def ahead(reads: Iterable[tuple[Model, Run, slice]]) -> Generator[list[Tensor], None, None]:
    """Yield the maps of runs on blocks of images; a thread reads the next while one is used."""
    with ThreadPoolExecutor(1) as reader:
        coming = None
        for model, run, block in reads:
            before, coming = coming, reader.submit(model.read, run, block)
            if before is not None:
                yield before.result()
        if coming is not None:
            yield coming.result()


def sum_products(
    a: MapSource, b: MapSource, units_a: Units, units_b: Units, images: slice,
    *, block: int,
    device: str = "cpu", precision: str = "float32", split: np.ndarray | None = None,
    decoys: int = 0, labels: np.ndarray | None = None,
    run_bytes: float | None = None, holds_larger: bool = False,
    measured: SumsOfLayers | None = None,
) -> dict[tuple[Size, Size], np.ndarray]:  # fmt: skip
    """Return sums of products of centred maps over some images, as at the size of comparison.

    Args:
        a: Maps of the first model.
        b: Maps of the second model.
        units_a: Units of the first model.
        units_b: Units of the second model.
        images: Images to sum over.
        block: Number of images read at a time.
        device: Device to compute on.
        precision: One of PRECISIONS.
        split: Split of every image of the source, counted from 0; None puts all into one split.
        decoys: Number of decoys: sums with the images of b moved within each block.
        labels: Class of each image of the source, (image), within which images are moved; None
            moves them freely.
        run_bytes: Approximate bytes of the maps that are read together, as float32.
        holds_larger: Whether to hold the model with more values to hold, which gives fewer, larger
            products and takes more memory.
        measured: Sums for moments of b, to which its maps are added; None takes none.

    Returns:
        For each pair of map sizes (of a, of b) the sums, (split or decoy, unit of a, unit
            of b), decoys after the splits.
    """
    swapped = not holds_first(units_a, units_b, holds_larger)
    first, second = ((b, units_b), (a, units_a)) if swapped else ((a, units_a), (b, units_b))
    sizes = [list(units.layers) for _, units in (first, second)]
    model_of = partial(Model, device=device, precision=precision, run_bytes=run_bytes)
    held = Held(model_of(*first, sizes[1], block))
    other = model_of(*second, sizes[0], block)
    (held.model if swapped else other).measured = measured
    sums = sums_of(held, other)
    splits = 1 if split is None else int(split.max()) + 1
    parts = [
        slice(images.start + part.start, images.start + part.stop)
        for part in image_blocks(images.stop - images.start, block)
    ]
    both = (held.model, other)
    reads = ((model, run, part) for part in parts for model in both for run in model.runs)
    with closing(ahead(reads)) as maps:
        for part in parts:
            order, images_of = None, [part.stop - part.start]
            moved = moved_images(part, decoys, None if labels is None else labels[part])
            if swapped:  # the images of a move the other way
                moved = np.argsort(moved, 1)
            if split is not None and splits > 1:
                standing = np.argsort(split[part], kind="stable")
                moved = np.argsort(standing)[moved[:, standing]]
                order = torch.from_numpy(standing).to(device)
                images_of = np.bincount(split[part], minlength=splits).tolist()
            elsewhere = torch.from_numpy(moved).to(device)
            held.fill(part, order, maps)
            for run in other.runs:
                matrices = other.matrices(run, next(maps), order)
                for total in sums:
                    if total.size == run.size:
                        matrix = matrices[total.meeting]
                        total.add(held, other, run.rows, matrix, images_of, moved=elsewhere)
    found = {}
    for total in sums:
        for size, of_size in total.by_size(held):
            values = of_size.cpu().numpy()
            found[(total.size, size) if swapped else (size, total.size)] = (
                values if swapped else values.transpose(0, 2, 1)
            )
    return found
