"""A figure of edits, after figures 8 and 9 of the paper: before | maps | after | direct edit.

INPUTS   X.zarr of one or more edits
OUTPUTS  the figure as .png and .pdf
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from rosetta_steps import heatmaps
from rosetta_steps.drawing import (
    DOTS_PER_INCH,
    GAP,
    LINE,
    SMALL,
    STYLE,
    draw_foot,
    draw_picture,
    new_figure,
    save_figures,
    write_text,
)
from rosetta_steps.errors import run
from rosetta_steps.stores import check_dataset

CELL = 1.0  # inches, the width of a picture
FOOT = 0.3
# Heading, what is shown, and the image that a heat map lies over.
COLUMNS = (
    ("before", "before", None),
    ("a unit's map", "heat_before", "before"),
    ("edited", "heat_target", "before"),
    ("reached", "heat_after", "after"),
    ("after", "after", None),
    ("direct edit", "direct", None),
)


def edit_figure(edits: Sequence[xr.Dataset], images: int) -> Figure:
    """Images of edits, one below the other: pictures, and a map of an edited unit.

    The unit is, of those that a store keeps, the one whose map the edit changes most on an image.

    Args:
        edits: As the step `edit` writes them.
        images: The first so many of each.
    """
    proportions = [edit.sizes["y"] / edit.sizes["x"] for edit in edits]
    rows = [min(images, edit.sizes["image"]) for edit in edits]
    # A heading for the columns, then of each edit a line of words and its rows.
    height = LINE + GAP + FOOT
    for proportion, count in zip(proportions, rows, strict=True):
        height += 1.5 * LINE + count * (CELL * proportion + GAP)
    step = CELL + GAP
    figure = new_figure(len(COLUMNS) * step, height)
    for column, (heading, _, _) in enumerate(COLUMNS):
        write_text(figure, column * step, LINE - 0.02, heading, weight="bold")
    top = LINE + GAP
    for edit, proportion, count in zip(edits, proportions, rows, strict=True):
        write_text(figure, 0.0, top + 1.2 * LINE, words(edit), size=SMALL)
        top += 1.5 * LINE
        for place in range(count):
            one = edit.isel(image=place)
            unit = int(
                np.abs(one["heat_target"] - one["heat_before"]).mean(("heat_y", "heat_x")).argmax()
            )
            for column, (_, name, under) in enumerate(COLUMNS):
                picture = _heat(one, name, under, unit) if under else _image(one[name])
                draw_picture(figure, picture, column * step, top, CELL, CELL * proportion)
            write_text(
                figure,
                step + 0.03,
                top + CELL * proportion - 0.03,
                str(edit["unit"].values[unit]),
                size=SMALL,
                color="white",
            )
            top += CELL * proportion + GAP
    draw_foot(figure, "")
    return figure


def words(edit: xr.Dataset) -> str:
    """What an edit is: its kind, numbers and units."""
    attrs = edit.attrs
    text = attrs["edit"].replace("_", " ")
    if "shift" in attrs:
        text += " by " + ", ".join(
            f"{abs(share):g} {positive if share > 0 else negative}"
            for share, positive, negative in zip(
                attrs["shift"], ("down", "right"), ("up", "left"), strict=True
            )
            if share
        )
    for name in ("factor", "level"):
        text += f", {name} {attrs[name]:g}" if name in attrs else ""
    units, concepts = list(attrs["edited"]), list(attrs.get("concepts", []))
    if concepts:
        text += f"; concept {', '.join(map(str, concepts))}, {len(units)} units"
    else:
        text += f"; {', '.join(units)}" if len(units) <= 3 else f"; {len(units)} units"
    numbers = ", ".join(map(str, edit["source_image"].values[:6]))
    return f"{text}; of {attrs['generator']}, from the top image {numbers}"


def _image(picture: xr.DataArray) -> np.ndarray:
    shown = picture.transpose("y", "x", "rgb").values
    size = heatmaps.display_size(shown.shape[:2], round(CELL * DOTS_PER_INCH))
    return heatmaps.to_bytes(heatmaps.resize_image(shown, size))


def _heat(one: xr.Dataset, name: str, under: str, unit: int) -> np.ndarray:
    image = one[under].transpose("y", "x", "rgb").values
    grey = heatmaps.grey_image(image, round(CELL * DOTS_PER_INCH))
    return heatmaps.overlay(one[name].isel(unit=unit).values, (0.0, 1.0), grey)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="A figure of edits.")
    parser.add_argument("--edits", type=Path, nargs="+", required=True, help="X.zarr, in order")
    parser.add_argument("--images", type=int, default=2, help="of each, default %(default)s")
    parser.add_argument(
        "--output", type=Path, required=True, help="X.png or X.pdf to write: both are written"
    )
    a = parser.parse_args()
    if a.images < 1:
        raise ValueError(f"{a.images} images of each edit were asked for: ask for one at least.")
    edits = [xr.open_zarr(check_dataset(path)) for path in a.edits]
    for path, edit in zip(a.edits, edits, strict=True):
        if "heat_target" not in edit:
            raise ValueError(
                f"{path} is no edit: python -m rosetta_steps.inversion.edit writes one."
            )
    with matplotlib.rc_context(STYLE):
        save_figures({a.output.with_suffix(""): edit_figure(edits, a.images)})


if __name__ == "__main__":
    run(main)
