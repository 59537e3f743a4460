"""The correlation engine at every size, in one run (make bench): two tables and a picture.

OUTPUTS  correlation.csv   each pair of models by each way: seconds an image, peak memory, TFLOP/s
         doubling.csv      what twice the images, units, map sizes and workers cost
         correlation.png   and .pdf, both to look at
"""

import argparse
import os
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from matplotlib.figure import Figure

from rosetta_steps.benchmarks.correlation import (
    Case,
    device,
    doubling,
    machine,
    measure,
    shapes_of,
    stores_of,
)
from rosetta_steps.display.drawing import SMALL, STYLE, WIDTH, new_figure, save_figures
from rosetta_steps.matching.tables import write_table
from rosetta_steps.runtime.errors import run

# Pairs of the paper's zoo, random maps of their shapes: images a worker, those where maps lie on a
# device, and at once, and images of the baseline. Upsampled, StyleGAN-XL with a ViT would take some
# minutes an image on a CPU.
SHAPES = {
    "cpu": {
        ("stylegan2-lsun-cat", "resnet50"): (16, 0, 8, 1),
        ("stylegan-xl-imagenet256", "dino-vitb16"): (2, 0, 2, 0),
    },
    "cuda": {
        ("stylegan2-lsun-cat", "resnet50"): (96, 1920, 32, 2),
        ("stylegan-xl-imagenet256", "dino-vitb16"): (16, 128, 8, 1),
    },
}
COLOURS = {
    "one product": "0.75",
    "products alone": "0.55",
    "on the device": "#6f9bd8",
    "from memory": "#3b6fb6",
    "from the store": "#1b3a6b",
    "upsampled first": "#c4553a",
}


def picture(table: pd.DataFrame, twice: pd.DataFrame, title: str) -> Figure:
    """A figure of seconds an image, by the engine and its baselines, and of twice the work.

    Args:
        table: As `measure` returns it, of several cases.
        twice: As `doubling` returns it.
        title: Machine and settings.
    """
    with matplotlib.rc_context(STYLE):
        figure = new_figure(WIDTH, 2.6)
        left, right = figure.subplots(1, 2, width_ratios=(2.2, 1))
        place, marks = 0.0, []
        for case, group in table.groupby("case", sort=False):
            for row in group.itertuples():
                left.barh(place, row.seconds, color=COLOURS[row.way], height=0.8)
                words = f" {row.seconds:.3g} s, {row.ratio:.3g} × products"
                left.text(row.seconds, place, words, va="center", size=SMALL)
                marks.append((place, row.way))
                place += 1
            left.text(table["seconds"].min() / 2, place - 0.3, case, va="bottom", weight="bold")
            place += 1.2
        left.set(xscale="log", xlabel="seconds an image", ylim=(-0.7, place - 0.2))
        left.set_xlim(table["seconds"].min() / 2, table["seconds"].max() * 12)
        left.set_yticks(*zip(*marks, strict=True), size=SMALL)
        first, rest = twice.iloc[0], twice.iloc[1:]
        ratio = rest["total"] / first["total"]
        right.barh(range(len(rest)), ratio, color=COLOURS["from memory"], height=0.7)
        for place, value in enumerate(ratio):
            right.text(value, place, f" {value:.2f}", va="center", size=SMALL)
        right.set_yticks(range(len(rest)), rest["case"], size=SMALL)
        right.axvline(1, color="0.7", linewidth=0.7, zorder=0)
        right.set(xlabel="times the seconds of the whole", xlim=(0, ratio.max() * 1.25))
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", size=SMALL)
        figure.tight_layout()
    return figure


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("results"), help="default %(default)s")
    parser.add_argument("--sample-set", default="faces", help="default %(default)s")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--precision", default="float32", help="default %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="least counts, default %(default)s")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes, default %(default)s"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("results/benchmarks"), help="default %(default)s"
    )
    o = parser.parse_args()
    workers = torch.cuda.device_count() or o.workers
    pair = ("dcgan-digiface", "efficientnet-lite0")
    name, stores = f"{' × '.join(pair)}, {o.sample_set}", stores_of(o.folder, o.sample_set, *pair)
    cases = [Case(name, stores=stores, resident=1600, precision=o.precision)]
    for pair, (images, resident, block, upsampled) in SHAPES[device()].items():
        shapes = tuple(shapes_of(name, o.zoo, "published") for name in pair)
        cases.append(
            Case(
                f"{' × '.join(pair)}, shapes only",
                shapes=shapes,
                images=images,
                resident=resident,
                block=block,
                precision=o.precision,
                upsampled=upsampled,
            )
        )
    table = pd.concat([measure(case, workers, o.repeats) for case in cases], ignore_index=True)
    twice = doubling(160, o.repeats, workers)
    title = f"{workers} workers of one thread, {machine()}, {o.precision}"
    print(title)
    for found in (table, twice):
        print(found.to_string(index=False, float_format="{:.5g}".format))
    o.output.mkdir(parents=True, exist_ok=True)
    write_table(table.assign(machine=title), o.output / "correlation.csv")
    write_table(twice.assign(machine=title), o.output / "doubling.csv")
    save_figures({o.output / "correlation": picture(table, twice, title)})


if __name__ == "__main__":
    run(main)
