"""The correlation engine beside its own matrix products alone, and beside upsampling first.

Everything sees the same activations in the same run; seconds an image.

    products alone    the engine's matrix products, on matrices that lie ready
    from memory       the engine, from float16 maps in memory
    from the store    the engine, from the compressed store
    upsampled first   the published way: for each two layers and batch, both maps are upsampled to
                      the larger size and multiplied by einsum, in float32

    python -m rosetta_steps.benchmarks.correlation                        # results/ of faces
    python -m rosetta_steps.benchmarks.correlation --zoo-shapes stylegan2-lsun-cat resnet50

--zoo-shapes takes random maps of the shapes of two entries of the zoo, without their weights.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch.nn.functional import interpolate

from rosetta_steps.correlation.products import PRECISIONS, Held, Model, sum_products, sums_of
from rosetta_steps.correlation.units import Units, units_of
from rosetta_steps.errors import run
from rosetta_steps.resampling import comparison_size
from rosetta_steps.stores import MapReader, check_dataset, image_blocks
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.loading import choose_layers, load


class InMemory:
    """A block of float16 maps in memory, read again and again as if it were a store.

    Args:
        maps: Of each layer (image, channel, y, x).
    """

    def __init__(self, maps: dict[str, np.ndarray]):
        self.maps = maps
        self.layers = list(maps)
        self.sizes = {name: array.shape[2:] for name, array in maps.items()}
        self.channels = {name: array.shape[1] for name, array in maps.items()}

    def grain(self, layer: str) -> int:
        """Channels are free to be read alone."""
        return 1

    def read(self, layer: str, block: slice, channels: slice = slice(None)) -> np.ndarray:
        """The same images, whatever the block."""
        return self.maps[layer][: block.stop - block.start, channels]


def units_in_memory(store: InMemory) -> Units:
    """Its units, centred by their mean."""
    sizes: dict = {}
    for layer, size in store.sizes.items():
        sizes.setdefault(tuple(size), []).append(layer)
    offset = {
        layer: maps[:1].mean((0, 2, 3), dtype=np.float32) for layer, maps in store.maps.items()
    }
    return Units(sizes, dict(store.channels), offset)


def shapes_of(name: str, zoo: str, preset: str) -> dict[str, tuple[int, ...]]:
    """Channels and size of the layers of an entry of the zoo, whose weights are not needed."""
    entry = find_entry(name, zoo)
    return {
        layer.name: (layer.channels, *layer.size)
        for layer in choose_layers(name, entry, load(name, entry), preset)
    }


def random_maps(shapes: dict[str, tuple[int, ...]], images: int, seed: int) -> InMemory:
    """Post-ReLU noise of these shapes."""
    random = np.random.default_rng(seed)
    return InMemory(
        {
            layer: np.maximum(random.standard_normal((images, *shape), np.float32), 0).astype(
                np.float16
            )
            for layer, shape in shapes.items()
        }
    )


def engine(stores, units, images: int, block: int, device: str, precision: str) -> float:
    """Seconds an image of the engine."""
    start = time.perf_counter()
    sum_products(*stores, *units, slice(0, images), block, device, precision)
    return (time.perf_counter() - start) / images


def products_alone(stores, units, images: int, block: int, device: str, precision: str) -> float:
    """Seconds an image of its matrix products, the matrices of one block lying ready."""
    sizes = [list(of_model.layers) for of_model in units]
    held, other = (
        Model(stores[i], units[i], sizes[1 - i], block, device, precision) for i in (0, 1)
    )
    held = Held(held)
    held.fill(slice(0, block))
    sums, ready = sums_of(held, other), []
    for run_of_units in other.runs:
        read = other.read(run_of_units, slice(0, block))
        matrices = {m: v.clone() for m, v in other.matrices(run_of_units, read).items()}
        ready.append((run_of_units, matrices))
    start = time.perf_counter()
    blocks = len(image_blocks(images, block))
    for _ in range(blocks):
        for run_of_units, matrices in ready:
            for total in sums:
                if total.size == run_of_units.size:
                    total.add(held, other, run_of_units.rows, matrices[total.meeting])
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / (blocks * block)


def upsampled_first(stores, images: int, device: str) -> float:
    """Seconds an image where both maps of each two layers are upsampled to the larger size."""
    a, b = (
        {
            layer: torch.from_numpy(store.read(layer, slice(0, images))).to(device).float()
            for layer in store.layers
        }
        for store in stores
    )
    start = time.perf_counter()
    for maps_a in a.values():
        for maps_b in b.values():
            size = comparison_size(maps_a.shape[2:], maps_b.shape[2:])
            left, right = (
                maps if maps.shape[2:] == size else interpolate(maps, size, mode="bilinear")
                for maps in (maps_a, maps_b)
            )
            torch.einsum("iayx,ibyx->ab", left, right)
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / images


def best(measured: Callable[[], float], times: int) -> float:
    """The least of some measurements: what else the machine did adds to the others."""
    return min(measured() for _ in range(times))


def of_results(folder: Path, sample_set: str, names: tuple[str, str]) -> tuple[list, list]:
    """Stores of a run of the workflow, and their units."""
    stores = [MapReader(folder / "activations" / sample_set / f"{name}.zarr") for name in names]
    units = [
        units_of(
            store,
            xr.open_datatree(
                check_dataset(folder / "moments" / sample_set / f"{name}.zarr"), engine="zarr"
            ),
        )
        for store, name in zip(stores, names, strict=True)
    ]
    return stores, units


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("results"), help="default %(default)s")
    parser.add_argument("--sample-set", default="faces", help="default %(default)s")
    parser.add_argument("--a", default="dcgan-digiface", help="default %(default)s")
    parser.add_argument("--b", default="efficientnet-lite0", help="default %(default)s")
    parser.add_argument("--zoo-shapes", nargs=2, metavar="MODEL", help="instead of a sample set")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--layers", default="all", help="preset of those, default %(default)s")
    parser.add_argument("--images", type=int, default=320, help="default %(default)s")
    parser.add_argument(
        "--images-per-block", type=int, default=32, help="read at once, default %(default)s"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="default %(default)s"
    )
    parser.add_argument("--upsampled", type=int, default=4, help="images of that baseline, or 0")
    parser.add_argument("--repeats", type=int, default=3, help="least counts, default %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default %(default)s")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows: dict[str, float] = {}
    settings = (o.images, o.images_per_block, device, o.precision)
    if o.zoo_shapes:
        title = " x ".join(o.zoo_shapes) + " (shapes)"
        memory = [
            random_maps(shapes_of(name, o.zoo, o.layers), o.images_per_block, seed)
            for seed, name in enumerate(o.zoo_shapes)
        ]
    else:
        title = f"{o.a} x {o.b} ({o.sample_set})"
        stores, units = of_results(o.folder, o.sample_set, (o.a, o.b))
        block = slice(0, o.images_per_block)
        memory = [InMemory({n: s.read(n, block) for n in s.layers}) for s in stores]
        rows["from the store"] = best(lambda: engine(stores, units, *settings), o.repeats)
    units = [units_in_memory(store) for store in memory]
    rows["from memory"] = best(lambda: engine(memory, units, *settings), o.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    bare = rows["products alone"] = best(
        lambda: products_alone(memory, units, *settings), o.repeats
    )
    if o.upsampled:
        rows["upsampled first"] = upsampled_first(memory, o.upsampled, device)
    print(
        f"{title}: {' x '.join(str(sum(u.channels.values())) for u in units)} units, {o.images} "
        f"images, {o.images_per_block} at once, {o.precision}, {o.threads} threads, {device}; peak "
        f"{peak / 1e9:.2f} GB before the baselines"
    )
    for name, seconds in sorted(rows.items(), key=lambda row: row[1]):
        print(f"{name:16} {seconds:9.5f} s an image  {seconds / bare:7.2f} x products alone")


if __name__ == "__main__":
    run(main)
