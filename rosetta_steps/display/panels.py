"""Drawing of images and heatmaps in the figures of inversions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from rosetta_steps.display import heatmaps
from rosetta_steps.display.drawing import (
    DOTS_PER_INCH,
    SMALL,
    WIDTH,
    draw_picture,
    folded,
    new_figure,
    write_text,
)
from rosetta_steps.display.exemplars import EMPTY_REASON

SPACED = 0.092  # inches: a line of small text among others
STRIP = 0.11  # inches: a line of small text below a picture


def proportion(image: np.ndarray) -> float:
    """Return height divided by width of an image (rgb, y, x)."""
    return image.shape[1] / image.shape[2]


def letters_in(width: float) -> int:
    """Return the number of small characters that fit into a width in inches."""
    return int(width * 72 / (SMALL * 0.62))


def draw_image(figure: Figure, image: np.ndarray, x: float, y: float, width: float) -> None:
    """Draw an image (rgb, y, x) in [0, 1] with its upper left corner at (x, y), in inches."""
    height = width * proportion(image)
    dots = round(max(width, height) * DOTS_PER_INCH)
    image = image.transpose(1, 2, 0)
    resized = heatmaps.resize_image(image, heatmaps.display_size(image.shape[:2], dots))
    draw_picture(figure, heatmaps.to_bytes(resized), x=x, y=y, width=width, height=height)


def draw_heatmap(
    figure: Figure,
    activation: np.ndarray,
    unit_range: tuple[float, float],
    image: np.ndarray,
    *,
    x: float,
    y: float,
    width: float,
) -> None:
    """Draw a unit's map (y, x) over its image (rgb, y, x), its upper left corner at (x, y).

    Args:
        figure: Figure to draw into.
        activation: Map (y, x) of the unit, not scaled or resized.
        unit_range: Minimum and maximum of the unit over all mined images.
        image: Image (rgb, y, x) in [0, 1].
        x: Left edge in inches.
        y: Upper edge in inches.
        width: Width in inches.
    """
    height = width * proportion(image)
    dots = round(max(width, height) * DOTS_PER_INCH)
    grey = heatmaps.grey_image(image.transpose(1, 2, 0), dots)
    draw_picture(
        figure, heatmaps.overlay(activation, unit_range, grey), x=x, y=y, width=width, height=height
    )


def number(value: float) -> str:
    """Format a similarity with two decimals and a proper minus sign."""
    return f"{value:.2f}".replace("-", "−")


def write_lines(figure: Figure, x: float, y: float, lines: Sequence[str], **properties) -> None:
    """Write lines of small text; (x, y) is the upper left corner of the first."""
    # Lines are written separately, because matplotlib's line spacing depends on the letters.
    for place, line in enumerate(lines, start=1):
        write_text(figure, x, y + SPACED * place + 0.02, line, size=SMALL, **properties)


def foot_height(words: str) -> float:
    """Return the height in inches that draw_key takes."""
    return 0.26 + SPACED * len(words.split("\n"))


def draw_key(figure: Figure, y: float, words: str, where: str = "here") -> None:
    """Draw a caption whose upper edge is at y, and the colour key of the heatmaps below it.

    Args:
        figure: Figure to draw into.
        y: Upper edge in inches.
        words: Caption, as lines of small text.
        where: Words for the images over which a unit's maximum is taken, for the key.
    """
    lines = words.split("\n")
    write_lines(figure, 0.0, y + 0.04, lines)
    top = y + 0.14 + SPACED * len(lines)
    draw_picture(figure, heatmaps.colour_key(24, 300), x=0.1, y=top, width=1.0, height=0.08)
    write_text(figure, 0.0, top + 0.09, "0", size=SMALL)
    said = f"1 = a unit's greatest value {where}"
    write_text(figure, 1.14, top + 0.09, said, size=SMALL)


def empty_figure(reason: str = EMPTY_REASON) -> Figure:
    """Return a figure with the text that there is nothing to show, and the reason."""
    figure = new_figure(WIDTH, 1.2)
    figure.text(0.5, 0.5, folded(reason, 100), ha="center", va="center", size=8, parse_math=False)
    return figure
