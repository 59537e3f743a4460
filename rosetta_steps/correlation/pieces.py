"""Pieces of work: a worker computes one strip of images of one tile and writes a file.

The config determines the pieces, not the number of workers, and the files are added in the order of
the images. So results are the same on any cluster, and a killed worker or job loses only the pieces
it was computing.
"""

import gc
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from rosetta_steps.correlation.products import sum_products
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.correlation.units import RUN_BYTES, Units
from rosetta_steps.maps.moments import SumsOfLayers
from rosetta_steps.maps.resampling import Size
from rosetta_steps.maps.sources import MapSource, identity_of, is_stream, open_maps
from rosetta_steps.maps.splits import split_of
from rosetta_steps.runtime.environment import version_of
from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.storage.datasets import open_dataset, open_each, open_tree
from rosetta_steps.storage.files import whole_file
from rosetta_steps.storage.revisions import code_of_package

PACKAGES = ("torch", "numpy", "zarr", "distributed")


@dataclass(frozen=True, kw_only=True)
class Job:
    """Description shared by all pieces of a table; it is small, because it is sent to the workers.

    Attributes:
        a, b: Paths of the stores of activations, or of streams.
        moments_a: Path of the moments of a.
        moments_b: Path of the moments of b; empty where this job takes them.
        digests: Digests of `paths` by identity_of, in their order.
        block: Number of images read at a time.
        holds_larger: Whether the held model is the one with more values to hold, or the one with
            fewer.
        precision: One of precision.PRECISIONS.
        threads: Number of threads of a worker on a CPU; the last bit of a sum may depend on it.
        splits: Number of splits of the images whose sums are kept apart.
        decoys: Number of decoys, sums with the images of b moved.
        samples: Path of the store of images, whose classes the decoys keep; may be empty.
        software: Versions of Python and packages; a worker with others is refused.
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
        cls,
        a: Path,
        b: Path,
        moments_a: Path,
        moments_b: Path | None,
        settings: Correlation,
        *,
        block: int,
        holds_larger: bool,
        samples: Path | None = None,
    ) -> "Job":
        """Create the job that correlates two sources in their present state."""
        given = [path for path in (a, b, moments_a, moments_b) if path is not None]
        paths = [str(Path(path).absolute()) for path in given]
        return cls(
            a=paths[0],
            b=paths[1],
            moments_a=paths[2],
            moments_b="" if moments_b is None else paths[3],
            digests=identities(paths),
            block=block,
            holds_larger=holds_larger,
            precision=settings.precision,
            threads=settings.threads_per_worker,
            splits=settings.splits,
            decoys=settings.decoys,
            samples=str(samples.absolute()) if samples else "",
            software=software(),
        )

    @property
    def paths(self) -> list[str]:
        """Paths of both sources and of the moments that are given."""
        return [self.a, self.b, self.moments_a, *([self.moments_b] if self.moments_b else [])]

    def sources(self) -> tuple[MapSource, MapSource]:
        """Open the sources of the maps; a model correlated with itself gives one object twice.

        Raises:
            StoreError: A source or its moments have changed since the job began.
        """
        self.refuse_changes()
        a = opened(self.a, self.digests[0])
        return a, a if self.a == self.b else opened(self.b, self.digests[1])

    def labels(self) -> np.ndarray | None:
        """Class of each image, (image); None where the images have no classes."""
        samples = open_dataset(Path(self.samples)) if self.samples else {}
        return samples["label"].values if "label" in samples else None

    def moments(self) -> list[xr.DataTree]:
        """Open the moments that are given, of a and of b."""
        return open_each(open_tree, map(Path, self.paths[2:]))

    def refuse_other_software(self) -> None:
        """Refuse to run in a process with other versions, such as a worker that joined later.

        Raises:
            ValueError: A version differs; the message names the machine and both versions.
        """
        for wanted, found in zip(self.software, software(), strict=True):
            if wanted != found:
                raise UserError(
                    f"a worker on {platform.node()} has {found}, not {wanted}. Start it in the "
                    "same environment; finished pieces are kept."
                )

    def refuse_changes(self) -> None:
        """Refuse sources and moments that have changed since the job began.

        Raises:
            StoreError: Something has changed; the message names the first path.
        """
        for path, before, now in zip(self.paths, self.digests, identities(self.paths), strict=True):
            if before != now:
                raise StoreError(
                    f"{path} has changed since this correlation began. Let what writes it finish, "
                    "then run the same command again."
                )


@cache
def software() -> tuple[str, ...]:
    """Return the versions that a result depends on: Python, packages, and this package's code."""
    versions = map(version_of, PACKAGES)
    own = f"rosetta_steps {code_of_package()}"
    return (f"Python {platform.python_version()}", *versions, own)


def identities(paths: list[str]) -> tuple[str, ...]:
    """Return the digest of each source or store, by identity_of."""
    return tuple(identity_of(Path(path)) for path in paths)


def opened(path: str, digest: str) -> MapSource:
    """Open a source of maps; a stream is opened only once in a process, as it loads a model."""
    return _stream(path, digest) if is_stream(Path(path)) else open_maps(Path(path))


@lru_cache(maxsize=2)
def _stream(path: str, digest: str) -> MapSource:
    return open_maps(Path(path))


def piece(
    job: Job,
    units: tuple[Units, Units],
    images: tuple[int, int],
    file: str,
    measured: Sequence[str] = (),
) -> str:
    """Compute one piece as a Dask task, write its sums to a file atomically, and return the file.

    Args:
        job: Description of the table.
        units: Units of both models that are in the tile.
        images: First image of the strip, and the image after its last.
        file: Path of the file; a file that exists is kept.
        measured: Names of the layers of b of which the sums for moments are written too.
    """
    if Path(file).exists():
        return file
    job.refuse_other_software()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(job.threads)
    sources = job.sources()
    for source in sources:
        of_source = [u for s, u in zip(sources, units, strict=True) if s is source]
        source.select_layers([name for of_tile in of_source for name in of_tile.channels])
    split = split_of(sources[0].images, job.splits) if job.splits > 1 else None
    labels = job.labels() if job.decoys else None

    def compute(block: int) -> tuple[dict[tuple[Size, Size], np.ndarray], dict[str, np.ndarray]]:
        of_b = SumsOfLayers(sources[1], measured, job.splits) if measured else None
        products = sum_products(
            *sources,
            *units,
            slice(*images),
            block=block,
            device=device,
            precision=job.precision,
            split=split,
            decoys=job.decoys,
            labels=labels,
            run_bytes=RUN_BYTES[device] * block / job.block,
            holds_larger=job.holds_larger,
            measured=of_b,
        )
        return products, of_b.arrays() if of_b else {}

    sums, for_moments = _with_smaller_blocks(compute, job.block)
    job.sources()  # checks again that no store was replaced while it was read
    refuse_not_finite(sums, units, job)
    with whole_file(Path(file)) as temporary, temporary.open("wb") as target:
        np.savez(target, **{key(sizes): value for sizes, value in sums.items()}, **for_moments)
    return file


def refuse_not_finite(
    sums: dict[tuple[Size, Size], np.ndarray], units: tuple[Units, Units], job: Job
) -> None:
    """Refuse sums that are not finite, except of units that have values that are not finite.

    Raises:
        StoreError: There are such sums, so a store was damaged while it was read.
    """
    for (size_a, size_b), values in sums.items():
        if np.isfinite(values).all():
            continue
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
    """Call `compute` with a block size that is halved until the GPU's memory is large enough.

    Raises:
        ValueError: The memory is too small for one image.
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
        # Runs outside the handler, because the exception refers to the tensors. Those of a reading
        # thread are in reference cycles, which only the garbage collector frees.
        gc.collect()
        torch.cuda.empty_cache()
        block //= 2
        print(f"GPU memory is full: going on with {block} images at once", file=sys.stderr)


def key(sizes: tuple[Size, Size]) -> str:
    """Return the name under which a file stores the sums of a pair of sizes."""
    return "-".join(f"{y}x{x}" for y, x in sizes)
