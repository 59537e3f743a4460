"""Sums of products of maps over images: the correlation but for its centring and scaling.

Blocks of images flow once. One model of a tile is held: its maps lie ready at every size where they
meet the other's. Of the other, runs of units are read, centred, projected and multiplied, while the
next run is read. For each size of the other model and each size where it meets the held one there
is one product.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache

import numpy as np
import torch
from torch import Tensor

from rosetta_steps.correlation.decoys import moved_images
from rosetta_steps.correlation.precision import PRECISIONS, add_product
from rosetta_steps.correlation.projection import Memory, Projection
from rosetta_steps.correlation.units import RUN_BYTES, Run, Units, holds_first, runs_of
from rosetta_steps.maps.resampling import Size, meeting_size
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.runtime.budgets import image_blocks


@cache  # memory that was taken for one stream is not given to another
def sending_stream() -> torch.cuda.Stream:
    """Of this process, in which maps are sent to its device."""
    return torch.cuda.Stream()


class Model:
    """A model's units on blocks of images: read, centred and projected run by run.

    Args:
        source: Gives the maps.
        units: Units of the model that are in the tile.
        others: Sizes of the other model's maps.
        images: Number of images in a block.
        device: Device to compute on.
        precision: One of PRECISIONS.
        run_bytes: About how many bytes the maps of a run take as float32.
    """

    def __init__(
        self, source: MapSource, units: Units, others: list[Size], images: int, device: str,
        precision: str, run_bytes: float | None = None,
    ):  # fmt: skip
        self.source, self.units, self.precision = source, units, precision
        self.device = torch.device(device)
        # Beside the products of the run before: the default one would wait for them.
        self.sending = sending_stream() if self.device.type == "cuda" else None
        exact = torch.float64 if precision == "float64" else torch.float32
        self.memory, self.kept = Memory(device, exact), Memory(device, PRECISIONS[precision])
        together = [source.grain(layer) for layer in units.channels]
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
        """The maps of a run on the device, one tensor (image, channel, y, x) a part."""
        maps = [torch.as_tensor(self.source.read(n, block, part)) for n, part in run.parts]
        if self.sending is None or all(part.is_cuda for part in maps):
            return maps
        with torch.cuda.stream(self.sending):
            sent = [part.to(self.device) for part in maps]
        self.sending.synchronize()
        for part in sent:  # used in another stream, until which its memory is not given away
            part.record_stream(torch.cuda.default_stream())
        return sent

    def matrices(
        self, run: Run, read: list[Tensor], order: Tensor | None = None,
        into: dict[Size, Tensor] | None = None,
    ) -> dict[Size, Tensor]:  # fmt: skip
        """Matrices (unit, image x position) of a run at every size where it meets others.

        Args:
            run: Of units.
            read: Their maps.
            order: In which images stand; None: as they are.
            into: Matrices to fill, contiguous; None: some that last until the next run.
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
    """One model on one block of images, at every size where it meets the other.

    Args:
        model: To be held.
    """

    def __init__(self, model: Model):
        self.model = model
        # By size: for square maps, all that meet another at one size then stand together, and one
        # product serves them.
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
        """Take a block of images, in an order, in place of the one before.

        Args:
            block: Which images.
            order: In which they stand; None: as they are.
            maps: Of the model's runs on the block, one after the other; None: they are read.
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
    """Sums of products of some sizes of the held model with one size of the other.

    Attributes:
        meeting: Size at which they meet.
        sizes: Of the held model.
        rows: Of the held matrix of that meeting.
        total: (split or decoy, unit of the other model, row) float32 or float64.
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
        moved: Tensor,
    ) -> None:
        """Add a block of images of some units of the other model.

        Args:
            held: The one model.
            other: The other.
            rows: Its units.
            matrix: Their maps, (unit, image x position).
            images: Number of images in each split; they stand one split after the other.
            moved: (decoy, image) columns whose maps of the other model take each image's place.
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
        """Each size of the held model, with its sums (split or decoy, unit of other, of held)."""
        assert self.total is not None, "a block is added first"
        for size in self.sizes:
            rows = held.rows[size, self.meeting]
            here = slice(rows.start - self.rows.start, rows.stop - self.rows.start)
            yield size, self.total[:, :, here]


def sums_of(held: Held, other: Model) -> list[Sums]:
    """One product for every two sizes, or for several of the held model that stand together."""
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
    """The maps of runs on blocks of images, each read while the one before is used."""
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
    block: int,
    device: str = "cpu", precision: str = "float32", split: np.ndarray | None = None,
    decoys: int = 0, labels: np.ndarray | None = None,
    run_bytes: float | None = None, holds_larger: bool = False,
) -> dict[tuple[Size, Size], np.ndarray]:  # fmt: skip
    """Sums of products of centred maps over some images, at the size of comparison.

    Args:
        a: Maps of the first model; b: of the second.
        units_a: Its units; units_b: of the second.
        images: To sum over.
        block: Images read at once.
        device: To compute on.
        precision: One of PRECISIONS.
        split: Which part each image is in, from 0; None: there is one.
        decoys: Number of sums with the images of b moved (correlation.decoys), within each block.
        labels: Class of each image, (image), within which they are moved; None: there are none.
        run_bytes: About those of the maps that are read together, as float32.
        holds_larger: Hold the model with more to hold: fewer, larger products, and more memory.

    Returns:
        For each two sizes (split or decoy, units of a, units of b), decoys after the splits.
    """
    swapped = not holds_first(units_a, units_b, holds_larger)
    first, second = ((b, units_b), (a, units_a)) if swapped else ((a, units_a), (b, units_b))
    sizes = [list(units.layers) for _, units in (first, second)]
    held = Held(Model(*first, sizes[1], block, device, precision, run_bytes))
    other = Model(*second, sizes[0], block, device, precision, run_bytes)
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
                        total.add(held, other, run.rows, matrix, images_of, elsewhere)
    found = {}
    for total in sums:
        for size, of_size in total.by_size(held):
            values = of_size.cpu().numpy()
            found[(total.size, size) if swapped else (size, total.size)] = (
                values if swapped else values.transpose(0, 2, 1)
            )
    return found
