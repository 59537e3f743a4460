"""Correlate every unit of one model with every unit of another, out of core and exactly.

Eq. 2 of the paper (its Pearson coefficient) without upsampling: maps that the paper upsamples to
the larger size meet at the smaller one, the larger projected by the adjoint of the upsampling
(see resampling.py). What is left is one matrix product for each two map sizes and block of
images. Before the products each unit is centred by a constant near its mean, so that nothing
cancels; means and variances at the size of comparison come from the moments stores.

A piece of work is a strip of images. Strips follow from the config, never from the number of
workers; each writes its own sums to a file, and the files are added in a fixed order: the same
bits for any cluster, and a killed worker or job costs its pieces.

Shape suffixes: U units, B images of a block, M positions where two sizes meet.
"""

import argparse
import math
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from distributed import Client, KilledWorker, LocalCluster, as_completed
from tqdm import tqdm

from rosetta_steps.devices import lease
from rosetta_steps.digest import algorithm
from rosetta_steps.errors import StoreError, run
from rosetta_steps.moments import mean_and_variance
from rosetta_steps.resampling import Size, comparison_size, meeting_size, upsampling
from rosetta_steps.stores import (
    MapReader,
    check_dataset,
    image_blocks,
    manifest_path,
    pieces_folder,
    sha256_of,
    whole_file,
    write_dataset,
)

# Positions up to which both axes are projected by one product: fewer, larger ones are faster.
SMALL_MAP, SMALL_MEETING = 400, 64
# Fixed, because the last bit of a sum depends on it.
THREADS_OF_A_WORKER = 2


@dataclass(frozen=True)
class Units:
    """The units of a model, grouped by the size of their maps.

    Attributes:
        layers: Names of the layers of each size, in the order of the forward pass.
        offset: Constant near the mean of each unit of a size, (unit) float32.
    """

    layers: dict[Size, list[str]]
    offset: dict[Size, np.ndarray]


def units_of(store: MapReader, moments: xr.DataTree) -> Units:
    """Group the layers of a store by size."""
    layers: dict[Size, list[str]] = {}
    for name in store.layers:
        layers.setdefault(store.sizes[name], []).append(name)
    offset = {
        size: np.concatenate(
            [moments[name]["mean_map"].mean(("y", "x")).values for name in names]
        ).astype(np.float32)
        for size, names in layers.items()
    }
    return Units(layers, offset)


class Projections:
    """The maps of one model on a block of images, centred, at the sizes where they meet others.

    Its memory is used again for the next block: to ask for new takes as long as to fill it.

    Args:
        store: Of the activations.
        units: Of the model.
        device: To compute on.
        dtype: float32, or float64 as the slow reference.
    """

    def __init__(self, store: MapReader, units: Units, device: str, dtype: torch.dtype):
        self.store, self.units = store, units
        self.kind = {"device": device, "dtype": dtype}
        self.offset = {s: torch.from_numpy(o).to(**self.kind) for s, o in units.offset.items()}
        self.memory: dict[tuple, torch.Tensor] = {}

    def read(self, block: slice) -> None:
        """Read a block of images, in place of the one before."""
        self.projected: dict[tuple[Size, Size], torch.Tensor] = {}
        self.maps = {}
        images = block.stop - block.start
        for size, layers in self.units.layers.items():
            maps_UBYX = self._memory(size, (len(self.offset[size]), images, *size))
            start = 0
            for layer in layers:
                maps = torch.from_numpy(self.store.read(layer, block)).to(self.kind["device"])
                maps_UBYX[start : start + maps.shape[1]] = maps.transpose(0, 1)
                start += maps.shape[1]
            maps_UBYX -= self.offset[size][:, None, None, None]
            self.maps[size] = maps_UBYX

    def at(self, size: Size, meeting: Size) -> torch.Tensor:
        """Units of a size where they meet others: (U, B M)."""
        if (size, meeting) not in self.projected:
            projected = self.maps[size] if size == meeting else self._project(size, meeting)
            self.projected[size, meeting] = projected.reshape(len(projected), -1)
        return self.projected[size, meeting]

    def _project(self, size: Size, meeting: Size) -> torch.Tensor:
        maps_UBYX = self.maps[size]
        rows, columns = (
            torch.from_numpy(upsampling(meeting[axis], size[axis])).to(**self.kind)
            for axis in (0, 1)
        )
        units_and_images = maps_UBYX.shape[:2]
        if math.prod(size) <= SMALL_MAP and math.prod(meeting) <= SMALL_MEETING:
            out = self._memory((size, meeting), (*units_and_images, math.prod(meeting)))
            return torch.matmul(maps_UBYX.flatten(2), torch.kron(rows, columns), out=out)
        if meeting[1] < size[1]:
            out = self._memory((size, meeting[1]), (*units_and_images, size[0], meeting[1]))
            maps_UBYX = torch.matmul(maps_UBYX, columns, out=out)
        if meeting[0] < size[0]:
            out = self._memory((size, meeting), (*units_and_images, *meeting))
            maps_UBYX = torch.matmul(rows.T, maps_UBYX, out=out)
        return maps_UBYX

    def _memory(self, key: tuple, shape: tuple[int, ...]) -> torch.Tensor:
        if key not in self.memory or self.memory[key].shape != shape:
            self.memory[key] = torch.empty(shape, **self.kind)
        return self.memory[key]


def sum_products(
    a: MapReader, b: MapReader, units_a: Units, units_b: Units, images: slice, block: int, **kind
) -> dict[tuple[Size, Size], np.ndarray]:
    """Sums of products of centred maps over some images, at the size of comparison.

    Args:
        a: Store of the first model; b: of the second.
        units_a: Its units; units_b: of the second.
        images: To sum over.
        block: Images read at once.
        **kind: device and dtype.

    Returns:
        For each two sizes (units of a, units of b), in the dtype.
    """
    maps_a = Projections(a, units_a, **kind)
    maps_b = maps_a if a.store == b.store else Projections(b, units_b, **kind)
    sums: dict[tuple[Size, Size], torch.Tensor] = {}
    for part in image_blocks(images.stop - images.start, block):
        part = slice(images.start + part.start, images.start + part.stop)
        for maps in {maps_a, maps_b}:
            maps.read(part)
        for size_a in units_a.layers:
            for size_b in units_b.layers:
                meeting = meeting_size(size_a, size_b)
                left, right = maps_a.at(size_a, meeting), maps_b.at(size_b, meeting)
                if (size_a, size_b) in sums:
                    sums[size_a, size_b].addmm_(left, right.T)
                else:
                    sums[size_a, size_b] = left @ right.T
    return {sizes: value.cpu().numpy() for sizes, value in sums.items()}


def piece(paths: dict, images: tuple[int, int], block: int, file: str) -> str:
    """One strip of images as a Dask task: write its sums to a file, whole or not at all."""
    if Path(file).exists():
        return file
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(THREADS_OF_A_WORKER)
    a, b, units_a, units_b = _open(paths)
    sums = sum_products(
        a, b, units_a, units_b, slice(*images), block, device=device, dtype=torch.float32
    )
    with whole_file(Path(file)) as temporary, temporary.open("wb") as target:
        np.savez(target, **{_key(sizes): value for sizes, value in sums.items()})
    return file


def _key(sizes: tuple[Size, Size]) -> str:
    return "-".join(f"{y}x{x}" for y, x in sizes)


def _open(paths: dict):
    a, b = MapReader(Path(paths["a"])), MapReader(Path(paths["b"]))
    moments = [xr.open_datatree(check_dataset(paths[f"moments_{k}"]), engine="zarr") for k in "ab"]
    return a, b, units_of(a, moments[0]), units_of(b, moments[1])


def finish(
    sums: dict[tuple[Size, Size], np.ndarray],
    units: tuple[Units, Units],
    moments: tuple[xr.DataTree, xr.DataTree],
    channels: tuple[dict, dict],
    images: int,
) -> np.ndarray:
    """From sums over all images to correlations.

    Args:
        sums: Of products of centred maps, for each two sizes, float64.
        units: Of both models.
        moments: Of both models.
        channels: Of each layer, of both models, in the order of the forward pass.
        images: Summed over.

    Returns:
        (unit_a, unit_b) float32, units in the order of the layers; NaN where one never varies.
    """
    totals = [sum(c.values()) for c in channels]
    table = np.full(totals, np.nan, np.float32)
    places = [_places(u, c) for u, c in zip(units, channels, strict=True)]
    for (size_a, size_b), products in sums.items():
        compared = comparison_size(size_a, size_b)
        centre, variance = [], []
        for side, size in enumerate((size_a, size_b)):
            found = [
                mean_and_variance(moments[side][name].to_dataset(), compared)
                for name in units[side].layers[size]
            ]
            mean = np.concatenate([m for m, _ in found])
            centre.append(mean - units[side].offset[size].astype(np.float64))
            variance.append(np.concatenate([v for _, v in found]))
        covariance = products / (images * compared[0] * compared[1]) - np.outer(*centre)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = covariance / np.sqrt(np.outer(*variance))
        table[np.ix_(places[0][size_a], places[1][size_b])] = np.clip(r, -1, 1)
    return table


def _places(units: Units, channels: dict[str, int]) -> dict[Size, np.ndarray]:
    starts = dict(zip(channels, np.cumsum([0, *channels.values()]), strict=False))
    return {
        size: np.concatenate([starts[n] + np.arange(channels[n]) for n in layers])
        for size, layers in units.layers.items()
    }


def coordinates(store: MapReader, side: str) -> dict:
    """Layer, channel and map size of every unit of a model, as coordinates of unit_a or unit_b."""
    dimension = f"unit_{side}"
    names = [name for name in store.layers for _ in range(store.channels[name])]
    channels = np.concatenate([np.arange(store.channels[name]) for name in store.layers])
    sizes = np.array([store.sizes[name] for name in names])
    return {
        f"layer_{side}": (dimension, np.array(names, dtype=object)),
        f"channel_{side}": (dimension, channels),
        f"size_{side}": (dimension, sizes[:, 0], {"long_name": "rows of the map"}),
        f"width_{side}": (dimension, sizes[:, 1], {"long_name": "columns of the map"}),
    }


def compute(
    paths: dict, strips: list[slice], files: list[str], block: int, workers: int, title: str
) -> None:
    """Have the pieces computed by a Dask cluster on this machine, with a progress bar.

    Raises:
        ValueError: The workers die again and again.
    """
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=":0",  # any free port: jobs run beside each other
            memory_limit=None,
            processes=workers > 1,  # a process of its own for a single worker only costs a start
        ) as cluster,
        Client(cluster) as client,
        tqdm(total=strips[-1].stop, desc=title, unit="image") as progress,
    ):
        strip_of = {
            client.submit(piece, paths, (strip.start, strip.stop), block, file): strip
            for strip, file in zip(strips, files, strict=True)
        }
        for task in as_completed(strip_of):
            try:
                task.result()
            except KilledWorker as error:
                raise ValueError(
                    f"{title}: worker processes died again and again, most likely for want of "
                    f"memory ({workers} of them). Lower correlation.images_per_block in the "
                    "config, or give the job fewer cores; finished pieces are kept."
                ) from error
            progress.update(strip_of[task].stop - strip_of[task].start)


def add_up(files: list[str], sizes: list[tuple[Size, Size]]) -> dict[tuple[Size, Size], np.ndarray]:
    """Sums of all pieces, in the order of the images, whoever computed them, in float64.

    Raises:
        StoreError: A file cannot be read; it is removed, so that the next run computes it again.
    """
    sums: dict[tuple[Size, Size], np.ndarray] = {}
    for file in files:
        try:
            with np.load(file) as part:
                values = {pair: part[_key(pair)].astype(np.float64) for pair in sizes}
        except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
            Path(file).unlink()
            raise StoreError(
                f"{file} is damaged ({error}) and was removed. Run the same command again: only "
                "that piece is computed."
            ) from error
        for pair, value in values.items():
            sums[pair] = sums[pair] + value if pair in sums else value
    return sums


def correlate(
    a: Path, b: Path, moments_a: Path, moments_b: Path, output: Path, threads: int,
    images_per_strip: int = 160, images_per_block: int = 32, workers: int | None = None,
) -> None:  # fmt: skip
    """Correlate two stores of activations and write the table.

    Args:
        a: Activations of the first model; b: of the second.
        moments_a: Of the first; moments_b: of the second.
        output: Store to write.
        threads: Cores this job was given.
        images_per_strip: Images in a piece of work.
        images_per_block: Images read at once; memory follows from it.
        workers: Dask workers; by default one for every two cores.

    Raises:
        StoreError: A store is damaged, or the two saw different images.
    """
    paths = {"a": str(a), "b": str(b), "moments_a": str(moments_a), "moments_b": str(moments_b)}
    store_a, store_b, units_a, units_b = _open(paths)
    if store_a.attrs["samples"] != store_b.attrs["samples"] or store_a.images != store_b.images:
        raise ValueError(
            f"{a} and {b} saw different images: {store_a.images} of {store_a.attrs['samples']} and "
            f"{store_b.images} of {store_b.attrs['samples']}. Dump both from one sample set."
        )
    strips = image_blocks(store_a.images, images_per_strip)
    scratch = pieces_folder(
        output,
        [
            paths,
            images_per_strip,
            images_per_block,
            algorithm("correlation"),
            *(sha256_of(manifest_path(p)) for p in (a, b, moments_a, moments_b)),
        ],
    )
    workers = workers or max(1, threads // THREADS_OF_A_WORKER)
    files = [str(scratch / f"{index}.npz") for index in range(len(strips))]
    compute(paths, strips, files, images_per_block, workers, f"correlating {output.stem}")
    sums = add_up(files, [(x, y) for x in units_a.layers for y in units_b.layers])
    moments = tuple(xr.open_datatree(m, engine="zarr") for m in (moments_a, moments_b))
    channels = (store_a.channels, store_b.channels)
    table = finish(sums, (units_a, units_b), moments, channels, store_a.images)
    never = {side: int(np.isnan(table).all(1 - axis).sum()) for axis, side in enumerate("ab")}
    dataset = xr.Dataset(
        {"correlation": (("unit_a", "unit_b"), table, {"long_name": "Pearson correlation"})},
        coordinates(store_a, "a") | coordinates(store_b, "b"),
        attrs={
            "model_a": store_a.attrs["model"],
            "model_b": store_b.attrs["model"],
            "images": store_a.images,
            "units_a_that_never_vary": never["a"],
            "units_b_that_never_vary": never["b"],
        },
    )
    write_dataset(dataset, output, {"correlation": {"chunks": _chunks(table.shape)}})
    shutil.rmtree(scratch)


def _chunks(shape: tuple[int, int]) -> tuple[int, int]:
    return min(shape[0], 1024), min(shape[1], 1024)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Correlate all units of two models.")
    for side, which in (("a", "first"), ("b", "second")):
        parser.add_argument(f"--{side}", type=Path, required=True, help=f"maps of the {which}")
        parser.add_argument(
            f"--moments-{side}", type=Path, required=True, help=f"moments of the {which}"
        )
    parser.add_argument(
        "--images-per-strip", type=int, default=160, help="a piece of work, default %(default)s"
    )
    parser.add_argument(
        "--images-per-block", type=int, default=32, help="read at once, default %(default)s"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    o = parser.parse_args()
    lease()
    correlate(
        o.a, o.b, o.moments_a, o.moments_b, o.output, o.threads,
        o.images_per_strip, o.images_per_block,
    )  # fmt: skip


if __name__ == "__main__":
    run(main)
