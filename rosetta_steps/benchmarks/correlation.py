"""The correlation engine beside its own matrix products alone, and beside upsampling first.

Everything sees the same activations in the same run, by as many workers as the step would have;
seconds an image.

    one product       the rate of one large square product, for as many operations
    products alone    the engine's matrix products, on matrices that lie ready
    on the device     the engine, from float16 maps in the memory of a CUDA device
    from memory       the engine, from float16 maps in memory
    from the store    the engine, from the compressed store
    upsampled first   the published way: for each two layers and batch, both maps are upsampled to
                      the larger size and multiplied by einsum, in float32

    python -m rosetta_steps.benchmarks.correlation                                # results of faces
    python -m rosetta_steps.benchmarks.correlation --zoo-shapes stylegan2-lsun-cat resnet50
    python -m rosetta_steps.benchmarks.correlation --doubling        # images, units, sizes, workers

--zoo-shapes takes random maps of the shapes of two entries of the zoo, without their weights.
"""

import argparse
import os
import platform
import resource
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rosetta_steps.benchmarks.published import product_of, upsampled_pairs
from rosetta_steps.correlation.cluster import local_workers
from rosetta_steps.correlation.plan import Outline, flop_of
from rosetta_steps.correlation.precision import PRECISIONS
from rosetta_steps.correlation.products import Held, Model, sum_products, sums_of
from rosetta_steps.correlation.units import Units, holds_first, units_of
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.tables import write_table
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.errors import run
from rosetta_steps.runtime.tf32 import rounding_to_tf32
from rosetta_steps.storage.datasets import open_tree
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.loading import choose_layers, load

KINDS = ("activations", "moments")
RESIDENT = ("products alone", "on the device")
Shapes = tuple[tuple[str, int, int, int], ...]  # layer, channels, y, x


@dataclass(frozen=True)
class Case:
    """What is correlated, and how.

    Attributes:
        name: To print.
        stores: Activations and moments of two models; empty: random maps.
        shapes: Of the random maps of two models.
        images: That each worker correlates.
        resident: The same of maps that lie on a device; 0: as many.
        block: Images at once.
        precision: One of PRECISIONS.
        threads: Of a worker.
        upsampled: Images of the baseline that upsamples; 0: leave it out.
    """

    name: str
    _: KW_ONLY
    stores: tuple[tuple[str, str], ...] = ()
    shapes: tuple[Shapes, ...] = ()
    images: int = 160
    resident: int = 0
    block: int = 32
    precision: str = "float32"
    threads: int = 1
    upsampled: int = 2


class InMemory:
    """A block of float16 maps in memory, read again and again as if it were a store.

    Args:
        maps: Of each layer (image, channel, y, x).
    """

    def __init__(self, maps: Mapping[str, Tensor]):
        self.maps = maps
        self.layers = list(maps)
        self.sizes = {name: array.shape[2:] for name, array in maps.items()}
        self.channels = {name: array.shape[1] for name, array in maps.items()}

    def channels_per_read(self, layer: str) -> int:
        """Channels are free to be read alone."""
        return 1

    def read(self, layer: str, block: slice, channels: slice = slice(None)) -> Tensor:
        """The same images, whatever the block."""
        return self.maps[layer][: block.stop - block.start, channels]

    def units(self) -> Units:
        """Grouped by size, centred by the mean of an image."""
        sizes: dict = {}
        for layer, size in self.sizes.items():
            sizes.setdefault(size, []).append(layer)
        offset = {n: m[0].float().mean((1, 2)).cpu().numpy() for n, m in self.maps.items()}
        return Units(sizes, dict(self.channels), offset)

    def on_the_device(self) -> "InMemory":
        """The same in the memory of the device."""
        return InMemory({name: maps.to(device()) for name, maps in self.maps.items()})


def shapes_of(name: str, zoo: str, preset: str) -> Shapes:
    """Layers of an entry of the zoo, whose weights are not needed."""
    entry = find_entry(name, zoo)
    layers = choose_layers(name, entry, load(name, entry), preset)
    return tuple((layer.name, layer.channels, *layer.size) for layer in layers)


def stores_of(folder: Path, sample_set: str, a: str, b: str) -> tuple[tuple[str, str], ...]:
    """Activations and moments of two models that were mined."""

    def both(name: str) -> tuple[str, str]:
        maps, sums = (str(folder / kind / sample_set / f"{name}.zarr") for kind in KINDS)
        return maps, sums

    return both(a), both(b)


def flop_an_image(case: Case) -> float:
    """Multiplications and additions of the engine's products."""
    if case.stores:
        found = [Outline.of(MapReader(Path(maps))) for maps, _ in case.stores]
    else:
        found = [
            Outline("", {n: c for n, c, *_ in shapes}, {n: (y, x) for n, _, y, x in shapes}, 2)
            for shapes in case.shapes
        ]
    return flop_of(*found)


def random_maps(shapes: Shapes, images: int) -> InMemory:
    """Post-ReLU noise of these shapes."""
    torch.manual_seed(0)
    maps = {}
    for layer, *shape in shapes:
        maps[layer] = torch.randn(images, *shape, device=device()).relu().half().cpu()
    return InMemory(maps)


@lru_cache(maxsize=1)
def prepared(case: Case):
    """Stores, their units, the same in memory, and its units; once in a worker."""
    torch.set_num_threads(case.threads)
    if not case.stores:
        memory = [random_maps(shapes, case.block) for shapes in case.shapes]
        return None, None, memory, [store.units() for store in memory]
    stores = [MapReader(Path(maps)) for maps, _ in case.stores]
    trees = [open_tree(Path(m)) for _, m in case.stores]
    units = [units_of(store, tree) for store, tree in zip(stores, trees, strict=True)]
    block = slice(0, case.block)
    memory = [InMemory({n: torch.from_numpy(s.read(n, block)) for n in s.layers}) for s in stores]
    return stores, units, memory, [store.units() for store in memory]


def products_alone(case: Case, stores, units) -> tuple[float, float, int]:
    """The engine's matrix products, the matrices of one block lying ready."""
    sizes = [list(of_model.layers) for of_model in units]
    model_of = partial(Model, device=device(), precision=case.precision)
    order = (0, 1) if holds_first(units[0], units[1], device() == "cuda") else (1, 0)
    first, other = (model_of(stores[i], units[i], sizes[1 - i], case.block) for i in order)
    held = Held(first)
    held.fill(slice(0, case.block))
    sums, ready = sums_of(held, other), []
    for part in other.runs:
        read = other.read(part, slice(0, case.block))
        ready.append((part, {m: v.clone() for m, v in other.matrices(part, read).items()}))
    none_moved = torch.empty((0, case.block), dtype=torch.long)
    blocks = len(image_blocks(case.images, case.block))
    begin = time.time()
    for _ in range(blocks):
        for part, matrices in ready:
            for total in sums:
                if total.size == part.size:
                    matrix = matrices[total.meeting]
                    total.add(held, other, part.rows, matrix, [case.block], moved=none_moved)
    wait()
    return begin, time.time(), blocks * case.block


def engine(case: Case, stores, units, first: int = 0) -> tuple[float, float, int]:
    """The engine, reading included."""
    images = slice(first, first + case.images)
    begin = time.time()
    sum_products(
        stores[0], stores[1], units[0], units[1], images,
        block=case.block, device=device(), precision=case.precision,
        holds_larger=device() == "cuda",
    )  # fmt: skip
    return begin, time.time(), case.images


def upsampled_first(case: Case, stores) -> tuple[float, float, int]:
    """Both maps of each two layers upsampled to the larger size, and multiplied by einsum."""
    images = slice(0, case.upsampled)
    a, b = ({n: s.read(n, images).to(device()).float() for n in s.layers} for s in stores)
    begin = time.time()
    for *_, left, right in upsampled_pairs(a, b):
        product_of(left, right)
    wait()
    return begin, time.time(), case.upsampled


def device() -> str:
    """To compute on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    """Until a device has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def product_rate(precision: str, repeats: int = 5) -> float:
    """Multiplications and additions a second of one large square product of the library."""
    size = 8192 if device() == "cuda" else 1024
    left, right = torch.rand(2, size, size, device=device()).to(PRECISIONS[precision])
    seconds = []
    with rounding_to_tf32() if precision == "tf32" else nullcontext():
        for _ in range(repeats):
            wait()
            begin = time.perf_counter()
            left @ right
            wait()
            seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / min(seconds)


def measured(case: Case, what: str, worker: int) -> tuple[float, float, int, int]:
    """One measurement in a worker: when it began and ended, images, and its peak memory so far."""
    stores, units, memory, units_in_memory = prepared(case)
    if what == "one product":
        return 0.0, flop_an_image(case) / product_rate(case.precision), 1, 0
    if device() == "cuda" and what in RESIDENT:
        case = replace(case, images=case.resident or case.images)
        memory = [store.on_the_device() for store in memory]
    if what == "products alone":
        found = products_alone(case, memory, units_in_memory)
    elif what in ("from memory", "on the device"):
        found = engine(case, memory, units_in_memory)
    elif what == "from the store":
        found = engine(case, stores, units, worker * case.images)
    else:
        found = upsampled_first(case, memory)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return *found, torch.cuda.max_memory_reserved() if device() == "cuda" else peak


def measure(case: Case, workers: int, repeats: int, rows: tuple[str, ...] = ()) -> pd.DataFrame:
    """Seconds an image of every way, by all workers together, the least of some repeats.

    Returns:
        case, workers, way, seconds (an image), peak (bytes of a worker so far; where there is a
        CUDA device, of that), ratio (to the products alone), tflops (of the engine's products a
        second, by all workers together), of_rate (the share of one large product's rate).
    """
    ways = [*(["from the store"] if case.stores else []), "from memory"]
    ways += [*(["on the device"] if device() == "cuda" else []), "products alone", "one product"]
    ways += ["upsampled first"] if case.upsampled else []
    table = []
    with local_workers(workers, case.threads) as client:
        names = sorted(client.scheduler_info()["workers"])
        for what in rows or ways:
            least, peak = np.inf, 0
            # The first is not counted: workers still load. The slow baseline is measured once.
            once = what == "upsampled first" and device() == "cpu"
            for repeat in range(1 if once else repeats + 1):
                tasks = [
                    client.submit(measured, case, what, i, workers=[name], pure=False)
                    for i, name in enumerate(names)
                ]
                begins, ends, images, peaks = zip(*client.gather(tasks), strict=True)
                peak = max(peaks)
                if repeat or once:
                    least = min(least, (max(ends) - min(begins)) / sum(images))
            table.append((case.name, workers, what, least, peak))
    found = pd.DataFrame(table, columns=["case", "workers", "way", "seconds", "peak"])
    bare = found["seconds"][found["way"] == "products alone"]
    found["ratio"] = found["seconds"] / bare.iloc[0] if len(bare) else np.nan
    found["tflops"] = flop_an_image(case) / found["seconds"] / 1e12
    rate = found["seconds"][found["way"] == "one product"]
    found["of_rate"] = rate.iloc[0] / found["seconds"] if len(rate) else np.nan
    return found


def doubled(images: int) -> list[tuple[str, Case, int]]:
    """A case, and the same with twice the images, units, sizes and workers; workers of each."""

    def shapes(units: int, sizes: int) -> tuple[Shapes, Shapes]:
        a = tuple((f"a{n}", 64 * units, n * sizes, n * sizes) for n in (4, 8, 16, 32))
        b = tuple((f"b{n}", 1024 * units, n * sizes, n * sizes) for n in (7, 14, 28))
        return a, b

    base = Case("once", shapes=shapes(1, 1), images=images, upsampled=0)
    return [
        ("once", base, 1),
        ("images doubled", replace(base, images=2 * images), 1),
        ("units of both doubled", replace(base, shapes=shapes(2, 1)), 1),
        ("sizes of all maps doubled", replace(base, shapes=shapes(1, 2)), 1),
        ("workers doubled", base, 2),
    ]


def doubling(images: int, repeats: int, workers: int) -> pd.DataFrame:
    """What each doubling costs with so many workers, in seconds of all images and of one."""
    rows = []
    for name, case, used in doubled(images):
        if used > workers:
            continue
        found = measure(case, used, repeats, ("from memory",)).iloc[0]
        total = case.images * used
        rows.append((name, total, found["seconds"] * total, found["seconds"]))
    return pd.DataFrame(rows, columns=["case", "images", "total", "seconds"])


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
    parser.add_argument("--doubling", action="store_true", help="what doubling anything costs")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--layers", default="published", help="preset, default %(default)s")
    parser.add_argument("--images", type=int, default=160, help="a worker, default %(default)s")
    parser.add_argument(
        "--images-per-block", type=int, default=32, help="read at once, default %(default)s"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="default %(default)s"
    )
    parser.add_argument(
        "--resident", type=int, default=0, help="images where maps lie on a GPU, default --images"
    )
    parser.add_argument("--upsampled", type=int, default=2, help="images of that baseline, or 0")
    parser.add_argument("--repeats", type=int, default=3, help="least counts, default %(default)s")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes, default %(default)s"
    )
    parser.add_argument("--threads", type=int, default=1, help="of each, default %(default)s")
    parser.add_argument("--output", type=Path, help="table to write as CSV")
    o = parser.parse_args()
    settings = {
        "images": o.images,
        "resident": o.resident,
        "block": o.images_per_block,
        "precision": o.precision,
        "threads": o.threads,
        "upsampled": o.upsampled,
    }
    if o.doubling:
        table = doubling(o.images, o.repeats, o.workers)
    elif o.zoo_shapes:
        shapes = tuple(shapes_of(name, o.zoo, o.layers) for name in o.zoo_shapes)
        name = f"{' x '.join(o.zoo_shapes)}, shapes only"
        table = measure(Case(name, shapes=shapes, **settings), o.workers, o.repeats)
    else:
        stores = stores_of(o.folder, o.sample_set, o.a, o.b)
        name = f"{o.a} x {o.b}, {o.sample_set}"
        table = measure(Case(name, stores=stores, **settings), o.workers, o.repeats)
    print(
        f"{o.workers} workers of {o.threads} threads, {device()}, {machine()}, {o.precision}, "
        f"{o.images_per_block} images at once"
    )
    print(table.to_string(index=False, float_format="{:.5g}".format))
    if o.output:
        write_table(table, o.output)


def machine() -> str:
    """The GPU where there is one, else the processor, in words."""
    if device() == "cuda":
        return torch.cuda.get_device_name()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


if __name__ == "__main__":
    # By its name: workers then import it once, and keep what they have prepared.
    from rosetta_steps.benchmarks.correlation import main as by_name

    run(by_name)
