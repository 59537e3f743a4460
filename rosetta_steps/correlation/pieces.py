"""Pieces of work: a strip of images of a tile, computed by some worker and written to a file.

What a piece is follows from the config, never from the number of workers, and the files are added
in the order of the images: the same numbers for any cluster, and a killed worker or job costs its
pieces.
"""

import gc
import platform
import sys
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from rosetta_steps.correlation.products import sum_products
from rosetta_steps.correlation.units import RUN_BYTES, Units
from rosetta_steps.maps.resampling import Size
from rosetta_steps.maps.sources import MapSource, identity_of, is_stream, open_maps
from rosetta_steps.maps.splits import split_of
from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.storage.datasets import open_dataset, open_each, open_tree
from rosetta_steps.storage.files import whole_file
from rosetta_steps.storage.revisions import code_of

PACKAGES = ("torch", "numpy", "zarr", "distributed")


@dataclass(frozen=True)
class Job:
    """What all pieces of a table share; small, for it travels to the workers.

    Attributes:
        a, b: Stores of activations, or streams.
        moments_a, moments_b: Of both.
        digests: What identity_of says of them, in this order.
        block: Images read at once.
        holds_larger: Whether the model with more to hold is held, or that with less.
        precision: One of precision.PRECISIONS.
        threads: Of a worker on a CPU; the last bit of a sum may depend on it.
        splits: Parts of the images whose sums are kept apart.
        decoys: Number of sums with the images of b moved.
        samples: Store of the images, whose classes the decoys keep; empty: there are none.
        software: What it was made with; a worker with another is refused.
    """

    a: str
    b: str
    moments_a: str
    moments_b: str
    digests: tuple[str, ...]
    block: int
    holds_larger: bool
    precision: str
    threads: int
    splits: int
    decoys: int
    samples: str
    software: tuple[str, ...]

    @classmethod
    def of(
        cls, a: Path, b: Path, moments_a: Path, moments_b: Path, block: int, holds_larger: bool,
        precision: str, threads: int, splits: int = 1, decoys: int = 0, samples: Path | None = None,
    ) -> "Job":  # fmt: skip
        """The job of correlating stores as they are now."""
        paths = [str(Path(path).absolute()) for path in (a, b, moments_a, moments_b)]
        return cls(
            paths[0], paths[1], paths[2], paths[3], identities(paths),
            block, holds_larger, precision, threads, splits, decoys,
            str(samples.absolute()) if samples else "", software(),
        )  # fmt: skip

    @property
    def paths(self) -> list[str]:
        """Of both sources and their moments."""
        return [self.a, self.b, self.moments_a, self.moments_b]

    def sources(self) -> tuple[MapSource, MapSource]:
        """Of the maps; one object for a model with itself.

        Raises:
            StoreError: One is not what it was when the job began.
        """
        self.refuse_changes()
        a = opened(self.a, self.digests[0])
        return a, a if self.a == self.b else opened(self.b, self.digests[1])

    def labels(self) -> np.ndarray | None:
        """Class of each image, (image); None where the images have no classes."""
        samples = open_dataset(Path(self.samples)) if self.samples else {}
        return samples["label"].values if "label" in samples else None

    def moments(self) -> tuple[xr.DataTree, xr.DataTree]:
        """Of both models."""
        a, b = open_each(open_tree, map(Path, (self.moments_a, self.moments_b)))
        return a, b

    def refuse_other_software(self) -> None:
        """Refuse a process, such as a worker that joined meanwhile, with other versions.

        Raises:
            ValueError: Names its machine, and what differs.
        """
        for wanted, found in zip(self.software, software(), strict=True):
            if wanted != found:
                raise UserError(
                    f"a worker on {platform.node()} has {found}, not {wanted}. Start it in the "
                    "same environment; finished pieces are kept."
                )

    def refuse_changes(self) -> None:
        """Refuse stores that are not what they were when the job began.

        Raises:
            StoreError: Names the first of them.
        """
        for path, before, now in zip(self.paths, self.digests, identities(self.paths), strict=True):
            if before != now:
                raise StoreError(
                    f"{path} has changed since this correlation began. Let what writes it finish, "
                    "then run the same command again."
                )


@cache
def software() -> tuple[str, ...]:
    """Versions of all that a result depends on, and of the code of this package."""
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    own = f"rosetta_steps {code_of('correlation.step')}"
    return (f"Python {platform.python_version()}", *versions, own)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is not installed"


def identities(paths: list[str]) -> tuple[str, ...]:
    """What identity_of says of each."""
    return tuple(identity_of(Path(path)) for path in paths)


def opened(path: str, digest: str) -> MapSource:
    """A source; a stream is opened once in a process, because it loads its model."""
    return _stream(path, digest) if is_stream(Path(path)) else open_maps(Path(path))


@lru_cache(maxsize=2)
def _stream(path: str, digest: str) -> MapSource:
    return open_maps(Path(path))


def piece(job: Job, units: tuple[Units, Units], images: tuple[int, int], file: str) -> str:
    """One piece as a Dask task: write its sums to a file, whole or not at all."""
    if Path(file).exists():
        return file
    job.refuse_other_software()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(job.threads)
    sources = job.sources()
    for source in sources:
        of_source = [u for s, u in zip(sources, units, strict=True) if s is source]
        source.tap([name for of_tile in of_source for name in of_tile.channels])
    split = split_of(sources[0].images, job.splits) if job.splits > 1 else None
    labels = job.labels() if job.decoys else None
    sums = _with_smaller_blocks(
        lambda block: sum_products(
            *sources,
            *units,
            slice(*images),
            block,
            device,
            job.precision,
            split,
            job.decoys,
            labels,
            RUN_BYTES[device] * block / job.block,
            job.holds_larger,
        ),
        job.block,
    )
    job.sources()  # once more: what was lost or replaced meanwhile read as nothing, or as another
    refuse_not_finite(sums, units, job)
    with whole_file(Path(file)) as temporary, temporary.open("wb") as target:
        np.savez(target, **{key(sizes): value for sizes, value in sums.items()})
    return file


def refuse_not_finite(
    sums: dict[tuple[Size, Size], np.ndarray], units: tuple[Units, Units], job: Job
) -> None:
    """Refuse sums that are not finite of units whose values are.

    Raises:
        StoreError: A store did not give what it holds.
    """
    for (size_a, size_b), values in sums.items():
        rows, columns = (
            np.isfinite(of_model.centre(size))
            for of_model, size in zip(units, (size_a, size_b), strict=True)
        )
        if not np.isfinite(values[:, rows][:, :, columns]).all():
            raise StoreError(
                f"sums of products of {job.a} and {job.b} are not finite, though their values are: "
                "a store was not whole while it was read. Run the same command again."
            )


def _with_smaller_blocks(compute, block: int):
    """Compute with blocks of images, halved for as long as the device's memory is too small.

    Raises:
        ValueError: It is too small for one image.
    """
    while True:
        try:
            return compute(block)
        except torch.OutOfMemoryError as error:
            if block == 1:
                raise UserError(
                    f"GPU memory is too small for one image at once ({error}). Lower "
                    "correlation.gpu_memory_gb, so that the table is cut into more tiles."
                ) from None
        # Out of the handler, which holds the tensors; those of a reading thread hold each other.
        gc.collect()
        torch.cuda.empty_cache()
        block //= 2
        print(f"GPU memory is full: going on with {block} images at once", file=sys.stderr)


def key(sizes: tuple[Size, Size]) -> str:
    """Name of the sums of two sizes in a file."""
    return "-".join(f"{y}x{x}" for y, x in sizes)
