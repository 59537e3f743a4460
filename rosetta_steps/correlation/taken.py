"""Moments of the second model, taken in the pass that correlates it.

A model that runs so runs once for both. Until its moments are known, its units are centred by their
means over a few images; what these are off is corrected when the table is made (from_sums).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from distributed import Client

from rosetta_steps.correlation.cluster import explained
from rosetta_steps.correlation.pieces import Job
from rosetta_steps.correlation.tiles import Tile
from rosetta_steps.correlation.totals import Total, load
from rosetta_steps.maps.moments import SumsOfLayers
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.storage.files import whole_file

# Images whose means centre the units, in runs that are spread over all images.
RUNS, IMAGES_A_RUN = 8, 4


class Taken:
    """Moments of a model's layers, which become known tile by tile.

    Args:
        source: Maps of the model, the second of the two.
        splits: Number of splits of the images.
        tiles: Tiles of the table. Those with the first layers of the first model take the moments.
        files: Beginning of the names of files that hold what is known.
    """

    def __init__(self, source: MapSource, splits: int, tiles: list[Tile], files: Path):
        self.source, self.splits, self.tiles, self.files = source, splits, tiles, files
        self._known: dict[str, xr.Dataset] = {}

    def means(self, client: Client, job: Job) -> xr.DataTree:
        """Means by which units are centred, in place of mean maps; a worker computes them once."""
        file = self._file("means")
        if not file.is_file():
            with explained(f"means of {self.source.attrs['model']}"):
                _save(file, client.submit(means_of_a_few, job, pure=False).result())
        maps = {layer: means[:, None, None] for layer, means in load(file).items()}
        return xr.DataTree.from_dict(
            {
                layer: xr.Dataset({"mean_map": (("channel", "y", "x"), mean_map)})
                for layer, mean_map in maps.items()
            }
        )

    def sums_of(self, tile: Tile) -> SumsOfLayers | None:
        """Create the sums that a tile takes; None where earlier tiles took them."""
        if tile.a != self.tiles[0].a:
            return None
        return SumsOfLayers(self.source, tile.b, self.splits, "cpu")

    def keep(self, tile: Tile, total: Total) -> None:
        """Write the sums for moments of a tile's total, whole or not at all, and let them go."""
        if total.measured is not None:
            _save(self._file(tile), total.measured.arrays())
            self._known |= dict(total.measured.moments())
            total.measured = None

    def knows(self, tile: Tile) -> bool:
        """Whether the moments of a tile's layers are known, by this run or an earlier one.

        Raises:
            StoreError: The file of an earlier run is damaged and is removed.
        """
        if tile.b[0] in self._known:
            return True
        row = next(one for one in self.tiles if one.b == tile.b)
        if not (file := self._file(row)).is_file():
            return False
        sums = SumsOfLayers(self.source, tile.b, self.splits, "cpu")
        sums.merge_arrays(load(file))
        self._known |= dict(sums.moments())
        return True

    def moments(self) -> xr.DataTree:
        """Moments of the layers of all tiles that are known."""
        return xr.DataTree.from_dict(dict(self._known))

    def _file(self, of: Tile | str) -> Path:
        what = of if isinstance(of, str) else f"moments-{self.tiles.index(of)}"
        return self.files.with_name(f"{self.files.name}-{what}.npz")


def means_of_a_few(job: Job) -> dict[str, np.ndarray]:
    """Mean of each unit of the second model over a few images, as a Dask task.

    Returns:
        Means of each layer, (channel) float32.
    """
    job.refuse_other_software()
    torch.set_num_threads(job.threads)
    _, source = job.sources()
    source.select_layers(source.layers)
    found: dict[str, list[torch.Tensor]] = {layer: [] for layer in source.layers}
    for block in a_few(source.images):
        for layer, means in found.items():
            maps = torch.as_tensor(source.read(layer, block))
            means.append(maps.double().mean((0, 2, 3)).cpu())
    return {
        layer: torch.stack(means).mean(0).numpy().astype(np.float32)
        for layer, means in found.items()
    }


def a_few(images: int) -> Iterator[slice]:
    """Yield runs of images that are spread over all of them."""
    length = min(IMAGES_A_RUN, images)
    for start in sorted({int(at) for at in np.linspace(0, images - length, RUNS)}):
        yield slice(start, start + length)


def _save(file: Path, arrays: dict) -> None:
    with whole_file(file) as temporary, temporary.open("wb") as target:
        np.savez(target, **arrays)
