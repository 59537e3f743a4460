"""Heatmaps: the map of a unit on its colour scale, drawn over a grey image.

Every unit has one scale for all images: its minimum over all images maps to 0 and its maximum to 1,
so that a weak response looks weak.
"""

import numpy as np
from matplotlib import colormaps
from PIL import Image

COLOURS = colormaps["inferno"]
# The colour map's first colours are black, which over a grey image would look like shadow.
FIRST_COLOUR = 0.15
MISSING = (90, 200, 250)  # for NaN: light blue, which the colour scale does not contain
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Rec. 601, as in Pillow's mode "L"


def scale(values: np.ndarray, unit_range: tuple[float, float]) -> np.ndarray:
    """Map values of a unit to its colour scale.

    Args:
        values: Values of the unit, of any shape.
        unit_range: The values that map to 0 and to 1.

    Returns:
        Values in [0, 1], float32; NaN where a value is NaN, 0 if the unit never varies.
    """
    minimum, maximum = unit_range
    values = np.asarray(values, dtype=np.float32)
    if not maximum > minimum:
        return np.where(np.isnan(values), np.float32(np.nan), np.float32(0))
    return np.clip((values - minimum) / (maximum - minimum), 0.0, 1.0)


def colour(scaled: np.ndarray) -> np.ndarray:
    """Return colour and opacity of values on the colour scale.

    Opacity increases with the value: at 0 only the image is visible, at 1 almost only the colour.
    Opacity depends on nothing but the value, so the scale is the same everywhere.

    Args:
        scaled: Values in [0, 1], of any shape.

    Returns:
        Array (..., rgba) float32 in [0, 1].
    """
    place = FIRST_COLOUR + (1.0 - FIRST_COLOUR) * scaled
    rgba = COLOURS(place).astype(np.float32)
    rgba[..., 3] = opacity(scaled)
    return rgba


def opacity(scaled: np.ndarray) -> np.ndarray:
    """Return the opacity of values on the colour scale: 0 at 0, steep at first, 0.95 at 1."""
    return 0.95 * np.power(scaled, 0.6)


def display_size(shape: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return height and width in pixels after scaling so that the longer side is `longest`."""
    height, width = shape
    factor = longest / max(height, width)
    return max(round(height * factor), 1), max(round(width * factor), 1)


def resize(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample a map bilinearly (align_corners false).

    Args:
        plane: Map (y, x) of any float dtype.
        size: Height and width of the result.

    Returns:
        Map (height, width) float32.
    """
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample an image bicubically.

    Args:
        image: Image (y, x, rgb) in [0, 1].
        size: Height and width of the result.

    Returns:
        Image (height, width, rgb) float32 in [0, 1].
    """
    planes = [
        Image.fromarray(np.ascontiguousarray(image[..., band], dtype=np.float32)).resize(
            size[::-1], Image.Resampling.BICUBIC
        )
        for band in range(image.shape[-1])
    ]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1), 0.0, 1.0)


def grey_image(image: np.ndarray, longest: int) -> np.ndarray:
    """Return the resized grey version of an image, over which heatmaps are drawn.

    Args:
        image: Image (y, x, rgb) in [0, 1].
        longest: Longer side of the result in pixels.

    Returns:
        Grey image (height, width) float32 in [0, 1].
    """
    return resize_image(image, display_size(image.shape[:2], longest)) @ LUMA


def overlay(
    activation: np.ndarray, unit_range: tuple[float, float], grey: np.ndarray
) -> np.ndarray:
    """Draw a map over its image.

    Args:
        activation: Map of one unit, (y, x), not scaled or resized.
        unit_range: Minimum and maximum of the unit over all images.
        grey: Grey image as `grey_image` returns it, (height, width).

    Returns:
        Heatmap (height, width, rgb) uint8.
    """
    scaled = scale(activation, unit_range)
    missing = np.isnan(scaled)
    # NaN is replaced before resampling, because it would spread to its neighbours.
    found = resize(np.where(missing, np.float32(0), scaled), grey.shape)
    picture = blend(colour(np.clip(found, 0.0, 1.0)), grey)
    if missing.any():
        rows, columns = (
            np.arange(size) * own // size
            for own, size in zip(missing.shape, grey.shape, strict=True)
        )
        picture[missing[np.ix_(rows, columns)]] = MISSING
    return picture


def blend(rgba: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Blend colours over a grey image.

    Args:
        rgba: Colours and opacity, (..., rgba) in [0, 1].
        grey: Grey values, (...) in [0, 1].

    Returns:
        Array (..., rgb) uint8.
    """
    # The range of greys is narrowed, so that no highlight looks like a strong response.
    ground = 0.12 + 0.7 * grey
    alpha = rgba[..., 3]
    below = (1.0 - alpha) * ground
    # Colour by colour, because numpy is slow where the last axis has three values.
    return np.stack([to_bytes(alpha * rgba[..., band] + below) for band in range(3)], axis=-1)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Round values in [0, 1] to uint8."""
    return np.round(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)


def colour_key(height: int, width: int) -> np.ndarray:
    """Return the colour scale from 0 (left) to 1 over middle grey, (height, width, rgb) uint8."""
    ramp = np.broadcast_to(np.linspace(0.0, 1.0, width, dtype=np.float32), (height, width))
    return blend(colour(ramp), np.full((height, width), 0.5, dtype=np.float32))
