"""Edits drawn one below the other: before, maps, after, direct edit."""

import argparse
from collections.abc import Sequence

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from rosetta_steps.display.drawing import (
    GAP,
    LINE,
    SMALL,
    STYLE,
    new_figure,
    save_figures,
    write_text,
)
from rosetta_steps.display.panels import draw_heatmap, draw_image, draw_key, foot_height
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.portable import listed

CELL = 1.0  # inches, the width of a picture
HEAD = 1.5 * LINE  # a line of words above the images of an edit
# Heading, what is shown, and the image that a heat map lies over.
COLUMNS = (
    ("Before", "before", None),
    ("A unit's map", "heat_before", "before"),
    ("Edited", "heat_target", "before"),
    ("Reached", "heat_after", "after"),
    ("After", "after", None),
    ("Direct edit", "direct", None),
)
CAPTION = (
    "The unit shown is the edited one with the strongest match that fires here. After: the latent "
    "is optimised towards the edited maps.\n"
    "On what was reached, medians over units: share of the way to the edited maps, correlation "
    "with them, and of the others with before.\n"
    "Direct edit: the same maps put into the running generator, the latent as it was."
)


def edit_figure(edits: Sequence[xr.Dataset], images: Sequence[int] = (0, 1)) -> Figure:
    """Images of edits, one below the other: pictures, and a map of an edited unit.

    Args:
        edits: As the step `edit` writes them.
        images: Places in each; what a store lacks is left out.
    """
    shown = [[i for i in images if i < edit.sizes["image"]] for edit in edits]
    heights = [CELL * edit.sizes["y"] / edit.sizes["x"] + GAP for edit in edits]
    top = LINE + GAP
    below = top + sum(
        HEAD + len(places) * height for places, height in zip(shown, heights, strict=True)
    )
    step = CELL + GAP
    figure = new_figure(len(COLUMNS) * step, below + foot_height(CAPTION))
    for column, (heading, _, _) in enumerate(COLUMNS):
        write_text(figure, column * step, LINE - 0.02, heading, weight="bold")
    for edit, places, height in zip(edits, shown, heights, strict=True):
        write_text(figure, 0.0, top + 1.2 * LINE, words(edit), size=SMALL)
        top += HEAD
        for place in places:
            one = edit.isel(image=place).load()
            for column, (_, name, under) in enumerate(COLUMNS):
                at = {"x": column * step, "y": top, "width": CELL}
                if under:
                    heat = one[name].values[0]
                    draw_heatmap(figure, heat, (0.0, 1.0), one[under].values, **at)
                else:
                    draw_image(figure, one[name].values, **at)
            inside = (step + 0.04, top + height - GAP - 0.03)
            reached = 3 * step + 0.04
            success = measured(one)
            write_text(figure, reached, inside[1], success, size=SMALL - 1, color="white")
            text = str(one["unit"].values[0])
            write_text(figure, *inside, text, size=SMALL, color="white")
            top += height
    draw_key(figure, below, CAPTION, "over the mined images")
    return figure


def measured(image: xr.Dataset) -> str:
    """What an edit reached on one image, in the figure's words; empty where there is nothing."""
    found = {"moved": "moved {:.2f}", "alike": "like target {:.2f}", "others": "others {:.2f}"}
    values = {name: float(image[name]) for name in found if name in image}
    return "\n".join(found[name].format(v) for name, v in values.items() if np.isfinite(v))


def words(edit: xr.Dataset) -> str:
    """What an edit is: its kind, numbers and units."""
    attrs = edit.attrs
    text = attrs["edit"].replace("_", " ").capitalize()
    if "shift" in attrs:
        signs = (("down", "up"), ("right", "left"))
        text += " by " + " and ".join(
            f"{abs(share):g} {sign[share < 0]}"
            for share, sign in zip(attrs["shift"], signs, strict=True)
            if share
        )
    text += "".join(f", {name} {attrs[name]:g}" for name in ("factor", "level") if name in attrs)
    units, concepts = listed(attrs["edited"]), listed(attrs.get("concepts"))
    count = f"{len(units)} unit{'s' if len(units) > 1 else ''}"
    if concepts:
        text += f": concept {', '.join(map(str, concepts))}, {count}"
    else:
        text += f": {', '.join(units) if len(units) <= 3 else count}"
    return f"{text} of {attrs['generator']}"


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    edits = [open_dataset(path) for path in a.edits]
    for path, edit in zip(a.edits, edits, strict=True):
        if "heat_target" not in edit:
            raise UserError(f"{path} is no edit: python -m rosetta_steps.editing.edit writes one.")
        if min(a.images) < 0 or min(a.images) >= edit.sizes["image"]:
            raise UserError(
                f"{path} has images 0 to {edit.sizes['image'] - 1}, none of "
                f"{', '.join(map(str, a.images))}."
            )
    with matplotlib.rc_context(STYLE):
        save_figures({a.output.with_suffix(""): edit_figure(edits, a.images)}, a.identity)
