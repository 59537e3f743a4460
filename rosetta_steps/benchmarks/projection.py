"""The kernel that projects stored maps on a GPU, beside widening them first, and beside copying.

For each size of the maps of one model of the zoo that meets those of another: microseconds an image
of the kernel, of the path without it (maps are widened to float32, centred and projected), and of
copying as many bytes as have to be read and written. Random maps, without weights.

    python -m rosetta_steps.benchmarks.projection stylegan2-lsun-cat resnet50
"""

import argparse
import time
from collections.abc import Callable

import pandas as pd
import torch

from rosetta_steps.benchmarks.correlation import Shapes, device, machine, shapes_of, wait
from rosetta_steps.correlation.products import fused_projections
from rosetta_steps.correlation.projection import Memory, Projection
from rosetta_steps.maps.resampling import Size, meeting_size
from rosetta_steps.runtime.errors import UserError, run

# Of the units of a size, so many that their maps on all images take about that.
MAPS_BYTES = 2**28


def seconds_of(call: Callable[[], object], repeats: int) -> float:
    """The least of some repeats, after one that is not counted."""
    found = []
    for _ in range(repeats + 1):
        wait()
        begin = time.perf_counter()
        call()
        wait()
        found.append(time.perf_counter() - begin)
    return min(found[1:])


def of_size(projection: Projection, kernel, units: int, images: int, repeats: int) -> dict:
    """Microseconds an image of the units of a size: kernel, widened, copied."""
    size, meetings = projection.size, projection.meetings
    some = max(1, min(units, MAPS_BYTES // (2 * images * size[0] * size[1])))
    maps = torch.randn(images, some, *size, device=device()).relu_().half()
    offset = maps[0].float().mean((1, 2))
    into = {m: torch.empty(some, images * m[0] * m[1], device=device()) for m in meetings}
    wide = torch.empty(some, images, *size, device=device())
    # A copy reads as much as it writes.
    moved = (maps.nbytes + sum(matrix.nbytes for matrix in into.values())) // 2
    source, copy = torch.empty(2, moved, dtype=torch.uint8, device=device())

    def widened() -> None:
        wide.copy_(maps.transpose(0, 1)).sub_(offset[:, None, None, None])
        projection(wide)

    calls = {
        "kernel": lambda: kernel(maps, offset, into),
        "widened": widened,
        "copied": lambda: copy.copy_(source),
    }
    whole = 1e6 * units / some / images
    return {name: whole * seconds_of(call, repeats) for name, call in calls.items()}


def measure(a: Shapes, b: Shapes, images: int, repeats: int) -> pd.DataFrame:
    """Time the projection of every size of one model that the kernel is used for.

    Args:
        a: Layers of the model.
        b: Of the one that it meets.
        images: At once.
        repeats: Of which the least counts.

    Returns:
        size, units, meetings, kernel, widened, copied (microseconds an image, of all units of the
        size), of_copying (copied over kernel).

    Raises:
        ValueError: The kernel is used for none of them.
    """
    units: dict[Size, int] = {}
    for _, channels, *size in a:
        units[tuple(size)] = units.get(tuple(size), 0) + channels
    others = sorted({tuple(size) for _, _, *size in b})
    rows = []
    for size, count in units.items():
        meetings = list(dict.fromkeys(meeting_size(size, other) for other in others))
        projection = Projection(size, meetings, Memory(device(), torch.float32))
        kernels = fused_projections({size: projection}, torch.device(device()))
        if size in kernels:
            words = ", ".join(str(y) if y == x else f"{y} x {x}" for y, x in meetings)
            row = {"size": f"{size[0]} x {size[1]}", "units": count, "meetings": words}
            rows.append(row | of_size(projection, kernels[size], count, images, repeats))
    if not rows:
        raise UserError("no size of these maps is projected by the kernel here.")
    table = pd.DataFrame(rows)
    return table.assign(of_copying=table["copied"] / table["kernel"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", help="name in the zoo, whose maps are projected")
    parser.add_argument("b", help="name in the zoo, whose maps they meet")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--layers", default="published", help="preset, default %(default)s")
    parser.add_argument("--images", type=int, default=32, help="at once, default %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="least counts, default %(default)s")
    o = parser.parse_args()
    if device() != "cuda":
        raise UserError("there is no CUDA device here: the kernel is one of a GPU.")
    shapes = [shapes_of(name, o.zoo, o.layers) for name in (o.a, o.b)]
    table = measure(*shapes, o.images, o.repeats)
    print(f"{o.a} with {o.b}, {machine()}, {o.images} images at once, microseconds an image")
    print(table.to_string(index=False, float_format="{:.3g}".format))
    whole = table[["kernel", "widened", "copied"]].sum()
    print(", ".join(f"{name} {value:.4g}" for name, value in whole.items()))


if __name__ == "__main__":
    run(main)
