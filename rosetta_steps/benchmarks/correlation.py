"""The correlation step beside its own matrix products alone, and beside upsampling first.

All three see the same images in the same run; seconds an image. `from the store` is what the rule
does, reading included; `products alone` are its matrix products on arrays that lie ready;
`upsampled first` is eq. 2 as written, for each two sizes both maps at the larger one, in
float32, on as many images as --upsampled says.
"""

import argparse
import time
from pathlib import Path

import torch
import xarray as xr
from torch.nn.functional import interpolate

from rosetta_steps.correlation import Projections, sum_products, units_of
from rosetta_steps.errors import run
from rosetta_steps.resampling import comparison_size, meeting_size
from rosetta_steps.stores import MapReader, check_dataset, image_blocks


def from_the_store(a, b, units_a, units_b, images: int, block: int, kind: dict) -> float:
    """Seconds an image of the correlation step."""
    start = time.perf_counter()
    sum_products(a, b, units_a, units_b, slice(0, images), block, **kind)
    return (time.perf_counter() - start) / images


def products_alone(a, b, units_a, units_b, images: int, block: int, kind: dict) -> float:
    """Seconds an image of its matrix products, the projected maps of one block lying ready."""
    maps_a, maps_b = Projections(a, units_a, **kind), Projections(b, units_b, **kind)
    maps_a.read(slice(0, block))
    maps_b.read(slice(0, block))
    sizes = [(x, y) for x in units_a.layers for y in units_b.layers]
    ready = [(maps_a.at(x, meeting_size(x, y)), maps_b.at(y, meeting_size(x, y))) for x, y in sizes]
    sums = [left @ right.T for left, right in ready]
    blocks = len(image_blocks(images, block))
    start = time.perf_counter()
    for _ in range(blocks):
        for total, (left, right) in zip(sums, ready, strict=True):
            total.addmm_(left, right.T)
    return (time.perf_counter() - start) / (blocks * block)


def upsampled_first(a, b, units_a, units_b, images: int, block: int, kind: dict) -> float:
    """Seconds an image where both maps are upsampled to the larger size before the product."""
    maps_a, maps_b = Projections(a, units_a, **kind), Projections(b, units_b, **kind)
    start = time.perf_counter()
    for part in image_blocks(images, block):
        maps_a.read(part)
        maps_b.read(part)
        for x in units_a.layers:
            for y in units_b.layers:
                size = comparison_size(x, y)
                left, right = (
                    interpolate(maps, size, mode="bilinear").flatten(1)
                    for maps in (maps_a.maps[x], maps_b.maps[y])
                )
                left @ right.T
    return (time.perf_counter() - start) / images


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("results"), help="default %(default)s")
    parser.add_argument("--sample-set", default="faces", help="default %(default)s")
    parser.add_argument("--a", default="dcgan-digiface", help="default %(default)s")
    parser.add_argument("--b", default="efficientnet-lite0", help="default %(default)s")
    parser.add_argument("--images", type=int, default=320, help="default %(default)s")
    parser.add_argument(
        "--images-per-block", type=int, default=32, help="read at once, default %(default)s"
    )
    parser.add_argument("--upsampled", type=int, default=4, help="images of that baseline, or 0")
    parser.add_argument("--threads", type=int, default=2, help="default %(default)s")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    stores = [MapReader(o.folder / "activations" / o.sample_set / f"{n}.zarr") for n in (o.a, o.b)]
    units = [
        units_of(store, xr.open_datatree(check_dataset(moments), engine="zarr"))
        for store, name in zip(stores, (o.a, o.b), strict=True)
        for moments in [o.folder / "moments" / o.sample_set / f"{name}.zarr"]
    ]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = {"device": device, "dtype": torch.float32}
    work = (*stores, *units, o.images, o.images_per_block, kind)
    products = products_alone(*work)
    rows = {"products alone": products, "from the store": from_the_store(*work)}
    if o.upsampled:
        rows["upsampled first"] = upsampled_first(*stores, *units, o.upsampled, 1, kind)
    print(f"{o.a} x {o.b}, {o.images} images, {o.threads} threads, {device}")
    for name, seconds in rows.items():
        print(f"{name:16} {seconds:8.4f} s an image  {seconds / products:6.2f} x products alone")


if __name__ == "__main__":
    run(main)
