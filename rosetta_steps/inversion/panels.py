"""Images and heatmaps as the figures of inversions show them."""

import numpy as np
from matplotlib.figure import Figure

from rosetta_steps import heatmaps
from rosetta_steps.drawing import DOTS_PER_INCH, SMALL, draw_picture
from rosetta_steps.representatives import Unit


def proportion(image: np.ndarray) -> float:
    """Height by width of an image (rgb, y, x)."""
    return image.shape[1] / image.shape[2]


def letters_in(width: float) -> int:
    """How many small letters fit into a width in inches."""
    return int(width * 72 / (SMALL * 0.62))


def unit_lines(unit: Unit) -> list[str]:
    """Name of a unit: its model, and its layer and channel."""
    return [unit.model, f"{unit.layer} {unit.channel}"]


def draw_image(figure: Figure, image: np.ndarray, x: float, y: float, width: float) -> None:
    """Draw an image (rgb, y, x) in [0, 1], its upper left corner at (x, y), all in inches."""
    height = width * proportion(image)
    dots = round(max(width, height) * DOTS_PER_INCH)
    image = image.transpose(1, 2, 0)
    resized = heatmaps.resize_image(image, heatmaps.display_size(image.shape[:2], dots))
    draw_picture(figure, heatmaps.to_bytes(resized), x, y, width, height)


def draw_heatmap(
    figure: Figure,
    activation: np.ndarray,
    unit_range: tuple[float, float],
    image: np.ndarray,
    x: float,
    y: float,
    width: float,
) -> None:
    """Draw a unit's map (y, x) over its image (rgb, y, x), its upper left corner at (x, y).

    Args:
        figure: To draw into.
        activation: In the unit's own scale and size.
        unit_range: Its least and greatest value over all mined images.
        image: In [0, 1].
        x, y, width: In inches.
    """
    height = width * proportion(image)
    dots = round(max(width, height) * DOTS_PER_INCH)
    grey = heatmaps.grey_image(image.transpose(1, 2, 0), dots)
    draw_picture(figure, heatmaps.overlay(activation, unit_range, grey), x, y, width, height)
