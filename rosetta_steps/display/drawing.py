"""Functions to draw figures for print, and their common style.

Coordinates are in inches from the upper left corner.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox, TransformedBbox

from rosetta_steps.display import heatmaps
from rosetta_steps.storage.files import explain_full_disk
from rosetta_steps.storage.leftovers import partial

WIDTH = 7.0  # inches: the text width of a two-column page
DOTS_PER_INCH = 300
LARGE = 7.0  # points
FONT = "DejaVu Sans"  # comes with matplotlib, so that figures are the same on every machine
# The annotation is Any, because matplotlib's own type lists every key by name.
STYLE: Any = {
    "font.family": FONT,
    "font.size": LARGE,
    "pdf.fonttype": 42,
}
SMALL = 5.5  # points, for the units' names
DESCENT = 0.24  # of DejaVu's letters below the baseline, as a fraction of the font size
LINE = 0.11  # inches, height of a line of 7-point text
GAP = 0.03  # inches between pictures


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a width and a height in inches."""
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH)


def draw_picture(
    figure: Figure, picture: np.ndarray, *, x: float, y: float, width: float, height: float
) -> None:
    """Draw a picture (y, x, rgb) whose upper left corner is at (x, y)."""
    full_width, full_height = figure.get_size_inches()
    place = Bbox.from_bounds(
        x / full_width,
        1 - (y + height) / full_height,
        width / full_width,
        height / full_height,
    )
    # An artist of the figure itself: axes of its own would take twenty times as long to make.
    no_axes: Any = None
    image = AxesImage(no_axes, interpolation="none", extent=(*place.intervalx, *place.intervaly))
    image.set_clip_box(TransformedBbox(place, figure.transFigure))
    image.set_data(picture)
    figure.add_artist(image)


def write_text(
    figure: Figure, x: float, y: float, text: str, *, size: float = LARGE, **properties
) -> None:
    """Write text whose lower left corner is at (x, y)."""
    width, height = figure.get_size_inches()
    # Placed by its baseline, so that names with and without descenders are aligned.
    place = 1 - (y - DESCENT * size / 72) / height
    # Not parsed as a formula, because a file name may contain dollar signs.
    properties |= {"size": size, "ha": "left", "va": "baseline", "parse_math": False}
    figure.text(x / width, place, text, **properties)


def write_title(figure: Figure, x: float, y: float, title: str, about: str) -> None:
    """Write a bold title whose lower left corner is at (x, y), and grey text behind it."""
    write_text(figure, x, y, title, weight="bold")
    font = font_manager.FontProperties(family=FONT, weight="bold")
    length = TextPath((0, 0), title.replace("$", r"\$"), LARGE, prop=font).get_extents().x1 / 72
    write_text(figure, x + length + 0.08, y, about, color="0.35")


def can_be_written(text: str) -> bool:
    """Whether the font has a glyph for every character."""
    font = font_manager.get_font(font_manager.findfont(FONT))
    return all(ord(letter) in font.get_charmap() for letter in text)


def draw_foot(figure: Figure, text: str) -> None:
    """Draw a colour key and a line of text at the bottom, which take 0.3 inches."""
    width, height = figure.get_size_inches()
    key = heatmaps.colour_key(24, 300)
    draw_picture(figure, key, x=0.1, y=height - 0.14, width=1.0, height=0.08)
    write_text(figure, 0.0, height - 0.05, "0", size=SMALL)
    write_text(
        figure, 1.14, height - 0.05, "1 = a unit's greatest value over all images", size=SMALL
    )
    if width > 6:
        figure.text(1, 0.05 / height, text, ha="right", va="bottom", size=SMALL, parse_math=False)
    else:
        write_text(figure, 0.0, height - 0.17, text, size=SMALL)


def folded(text: str, letters: int) -> str:
    """Break text between words into lines of about `letters` characters."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > letters:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(line.rstrip() for line in lines)


def wrapped(name: Sequence[str], letters: int) -> list[str]:
    """Break model and layer names at dots and hyphens into lines that fit a column."""
    lines: list[str] = []
    for text in name:
        line = ""
        for piece in text.replace(".", ".\n").replace("-", "-\n").replace(", ", ", \n").split("\n"):
            if line and len(line) + len(piece.rstrip()) > letters:
                lines.append(line.rstrip())
                line = ""
            line += piece
        lines.append(line)
    return lines


def save_figures(figures: Mapping[Path, Figure], identity: str | None = None) -> list[Path]:
    """Write figures as .pdf and .png, either all of them or none.

    Args:
        figures: Figures by path without ending; missing folders are created.
        identity: Digest of the config settings that determine the figures. It is written into the
            files: as Description of the PNG, where storage.manifests.identity_recorded reads it,
            and as Keywords of the PDF.

    Returns:
        Paths of the files. Equal inputs give equal bytes, because no date is written.

    Raises:
        StoreError: The disk is full.
    """
    finished: dict[Path, Path] = {}
    first = next(iter(figures), Path())
    of_kinds: dict[str, dict[str, str | None]] = {".pdf": {"CreationDate": None}, ".png": {}}
    if identity:
        of_kinds[".pdf"]["Keywords"] = of_kinds[".png"]["Description"] = identity
    try:
        with matplotlib.rc_context(STYLE), explain_full_disk(first.with_name(f"{first.name}.pdf")):
            for path, figure in figures.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                for suffix, metadata in of_kinds.items():
                    target = path.with_name(f"{path.name}{suffix}")
                    finished[target] = partial(target)
                    figure.savefig(
                        finished[target],
                        format=suffix[1:],
                        dpi=DOTS_PER_INCH,
                        metadata=metadata,
                        facecolor="white",
                        bbox_inches="tight",
                        pad_inches=0.03,
                    )
        for target, temporary in finished.items():
            os.replace(temporary, target)
    finally:
        for temporary in finished.values():
            temporary.unlink(missing_ok=True)
    return list(finished)


TALLEST = 9.2  # inches, maximum height of figure 3, so that its caption fits the page
