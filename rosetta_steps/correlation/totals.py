"""Sums of a tile over all its pieces, added in the order of the images as pieces arrive.

The same numbers are added in the same order, whichever worker computed them. A piece that arrives
early waits on disk. Every few pieces the total is written and the pieces in it are removed, so that
disk usage does not grow with the number of images.
"""

import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from rosetta_steps.correlation.pieces import key
from rosetta_steps.correlation.units import Units
from rosetta_steps.maps.moments import SumsOfLayers
from rosetta_steps.maps.resampling import Size
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.files import whole_file

DAMAGE = (zipfile.BadZipFile, ValueError, KeyError, EOFError)  # numpy's errors
FOLDED = 8  # pieces that are added before the total is written again
COUNT = "pieces"


class Total:
    """Sums of a tile.

    Args:
        file: File to which the total is written from time to time. If an earlier run left one, its
            sums are loaded.
        pieces: Files of the pieces, in the order of the images.
        units: Units of both models that are in the tile.
        measured: Sums for moments, to which those of the pieces are added; None takes none.

    Attributes:
        added: Number of pieces in the sums.
        sums: Sums for each pair of sizes, (split, unit of a, unit of b) float64.
    """

    def __init__(
        self,
        file: Path,
        pieces: list[Path],
        units: tuple[Units, Units],
        measured: SumsOfLayers | None = None,
    ):
        self.file, self.pieces, self.measured = file, pieces, measured
        self.sizes = [(a, b) for a in units[0].layers for b in units[1].layers]
        self.sums: dict[tuple[Size, Size], np.ndarray] = {}
        self.added = self.written = 0
        if file.is_file():
            found = load(file)
            self.added = self.written = int(found[COUNT])
            self.sums = {sizes: found[key(sizes)] for sizes in self.sizes}
            if measured is not None:
                measured.merge_arrays(found)

    def add(self, finished: Collection[int]) -> None:
        """Add finished pieces in order, up to the first that is not finished.

        Args:
            finished: Numbers of all finished pieces.

        Raises:
            StoreError: A piece cannot be read and is removed, so that the next run computes it
                again; or the disk is full.
        """
        while self.added in finished:
            found = load(self.pieces[self.added])
            for sizes in self.sizes:
                if sizes in self.sums:
                    self.sums[sizes] += found[key(sizes)]
                else:
                    self.sums[sizes] = found[key(sizes)].astype(np.float64)
            if self.measured is not None:
                self.measured.merge_arrays(found)
            self.added += 1
            if self.written + FOLDED == self.added < len(self.pieces):
                self._write()

    def remove(self) -> None:
        """Remove the files of the total and of all pieces."""
        for file in (self.file, *self.pieces):
            file.unlink(missing_ok=True)

    def _write(self) -> None:
        arrays: dict[str, Any] = {key(sizes): values for sizes, values in self.sums.items()}
        if self.measured is not None:
            arrays |= self.measured.arrays()
        with whole_file(self.file) as temporary, temporary.open("wb") as target:
            np.savez(target, **arrays | {COUNT: self.added})
        for file in self.pieces[self.written : self.added]:
            file.unlink()
        self.written = self.added


def load(file: Path) -> dict[str, np.ndarray]:
    """Load the arrays of a file that a worker wrote.

    Raises:
        StoreError: The file is missing; or it is damaged and is removed, so that the next run
            computes it again.
    """
    try:
        with np.load(file) as found:
            return dict(found)
    except FileNotFoundError:
        raise StoreError(
            f"{file} is missing, though a worker says that it wrote it. Workers on other machines "
            "need the results on a file system that all of them share."
        ) from None
    except DAMAGE as error:
        file.unlink()
        raise StoreError(
            f"{file} is damaged ({error}) and was removed. Run the same command again: only what "
            "it held is computed."
        ) from error
