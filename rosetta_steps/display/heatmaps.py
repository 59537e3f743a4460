"""Heatmaps: values of a unit on its colour scale, over a grey image.

Every unit has one scale for all images: its least stored value over all images maps to 0 and its
greatest to 1, so a weak response looks weak.
"""

import numpy as np
from matplotlib import colormaps
from PIL import Image

COLOURS = colormaps["inferno"]
# the map's first colours are black: over a grey image they only darken it, and read as shadow
FIRST_COLOUR = 0.15
MISSING = (90, 200, 250)  # light blue, which is no colour of the scale: a value that is not there
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Rec. 601, as pillow's mode "L"


def scale(values: np.ndarray, unit_range: tuple[float, float]) -> np.ndarray:
    """Put values of a unit on its colour scale.

    Args:
        values: In the unit's own scale, any shape.
        unit_range: The values that map to 0 and to 1.

    Returns:
        In [0, 1], float32; NaN where a value is not a number, 0 where the unit never varies.
    """
    minimum, maximum = unit_range
    values = np.asarray(values, dtype=np.float32)
    if not maximum > minimum:
        return np.where(np.isnan(values), np.float32(np.nan), np.float32(0))
    return np.clip((values - minimum) / (maximum - minimum), 0.0, 1.0)


def colour(scaled: np.ndarray) -> np.ndarray:
    """Colour and opacity of values on the colour scale.

    Opacity grows with the value: where a unit is silent the image shows, where it is at its
    greatest only colour does. It depends on the value alone, so the scale is the same everywhere.

    Args:
        scaled: In [0, 1], any shape.

    Returns:
        (..., rgba) float32 in [0, 1].
    """
    place = FIRST_COLOUR + (1.0 - FIRST_COLOUR) * scaled
    rgba = COLOURS(place).astype(np.float32)
    rgba[..., 3] = opacity(scaled)
    return rgba


def opacity(scaled: np.ndarray) -> np.ndarray:
    """Opacity of a value on the colour scale: 0 at 0, steep at first, 0.95 at 1."""
    return 0.95 * np.power(scaled, 0.6)


def display_size(shape: tuple[int, int], longest: int) -> tuple[int, int]:
    """Height and width in pixels of a picture whose longer side is to be `longest`."""
    height, width = shape
    factor = longest / max(height, width)
    return max(round(height * factor), 1), max(round(width * factor), 1)


def resize(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample a plane bilinearly, its corners the image's corners (align_corners false).

    Args:
        plane: (y, x), any float dtype.
        size: Height and width wanted.

    Returns:
        (height, width) float32.
    """
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample an image bicubically.

    Args:
        image: (y, x, rgb) in [0, 1].
        size: Height and width wanted.

    Returns:
        (height, width, rgb) float32 in [0, 1].
    """
    planes = [
        Image.fromarray(np.ascontiguousarray(image[..., band], dtype=np.float32)).resize(
            size[::-1], Image.Resampling.BICUBIC
        )
        for band in range(image.shape[-1])
    ]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1), 0.0, 1.0)


def grey_image(image: np.ndarray, longest: int) -> np.ndarray:
    """An image in grey, as heatmaps are laid over it.

    Args:
        image: (y, x, rgb) in [0, 1].
        longest: Longer side of the picture in pixels.

    Returns:
        (height, width) float32 in [0, 1].
    """
    return resize_image(image, display_size(image.shape[:2], longest)) @ LUMA


def overlay(
    activation: np.ndarray, unit_range: tuple[float, float], grey: np.ndarray
) -> np.ndarray:
    """Draw a map over its image.

    Args:
        activation: One map, (y, x), in the unit's own scale and at its own size.
        unit_range: Least and greatest value of the unit over all images.
        grey: The image as `grey_image` gives it, (height, width).

    Returns:
        (height, width, rgb) uint8.
    """
    scaled = scale(activation, unit_range)
    missing = np.isnan(scaled)
    # Filled before resampling: a value that is not a number would spread to its neighbours.
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
    """Lay colours over a grey image.

    Args:
        rgba: (..., rgba) in [0, 1].
        grey: (...) in [0, 1].

    Returns:
        (..., rgb) uint8.
    """
    # a narrower range of greys, so that no highlight of the image passes for a strong response
    ground = (0.12 + 0.7 * grey)[..., np.newaxis]
    alpha = rgba[..., 3:]
    return to_bytes(alpha * rgba[..., :3] + (1.0 - alpha) * ground)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Round values in [0, 1] to uint8."""
    return np.round(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)


def colour_key(height: int, width: int) -> np.ndarray:
    """The colour scale from 0 (left) to 1 over middle grey, (height, width, rgb) uint8."""
    ramp = np.broadcast_to(np.linspace(0.0, 1.0, width, dtype=np.float32), (height, width))
    return blend(colour(ramp), np.full((height, width), 0.5, dtype=np.float32))
