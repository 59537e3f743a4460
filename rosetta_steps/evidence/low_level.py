"""Low-level features of an image, and how much of a unit they explain.

A unit that is explained by brightness, colour, contrast, edges or its place in the image says
little about what two networks share besides their input. The partial correlation of two units is
what is left of r once both have been regressed on the features.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate, pad

from rosetta_steps.maps.resampling import Size

SCALES = (1, 2, 4)  # of contrast and edges: pixels by which images are averaged before
ORIENTATIONS = ("horizontal", "falling", "vertical", "rising")  # of the lines that respond
FEATURES = (
    "luminance",
    "red_green",
    "yellow_blue",
    "saturation",
    *(f"contrast_{scale}" for scale in SCALES),
    *(f"edges_{scale}" for scale in SCALES),
    *(f"lines_{orientation}" for orientation in ORIENTATIONS),
    "x",
    "y",
    "radius",
)


def features(images: Tensor) -> Tensor:
    """Maps of the features at the size of the images.

    Args:
        images: (image, rgb, y, x) in [0, 1].

    Returns:
        (image, feature, y, x) float32 in the order of FEATURES. Colours are differences of
        channels; contrast is the standard deviation of luminance in a window of 3 x 3, edges the
        length of its gradient, each on images averaged by so many pixels; lines are the rectified
        response to a bar of an orientation; x, y and radius run from -1 to 1 and from 0.
    """
    images = images.float()
    red, green, blue = images.unbind(1)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    largest, least = images.amax(1), images.amin(1)
    found = [light, red - green, (red + green) / 2 - blue, largest - least]
    size = light.shape[1:]
    contrasts: list[Tensor] = []
    edges: list[Tensor] = []
    for scale in SCALES:
        small = light[:, None]
        if min(size) >= 2 * scale:
            small = avg_pool2d(small, scale, ceil_mode=True)
        padded = pad(small, (1, 1, 1, 1), mode="replicate")
        mean = avg_pool2d(padded, 3, 1)
        variance = avg_pool2d(padded.square(), 3, 1) - mean.square()
        down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
        right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
        for maps, values in (
            (contrasts, variance.clamp(min=0).sqrt()),
            (edges, (down.square() + right.square()).sqrt()),
        ):
            maps.append(interpolate(values, size, mode="bilinear")[:, 0])
    found += contrasts + edges
    padded = pad(light[:, None], (1, 1, 1, 1), mode="replicate")
    for bar in _bars(images.device):
        found.append(torch.nn.functional.conv2d(padded, bar[None, None])[:, 0].relu())
    y, x = (torch.linspace(-1, 1, n, device=images.device) for n in size)
    y, x = torch.meshgrid(y, x, indexing="ij")
    found += [place.expand_as(light) for place in (x, y, (x.square() + y.square()).sqrt())]
    return torch.stack(found, 1)


def _bars(device: torch.device) -> list[Tensor]:
    line = torch.tensor([[-1.0, -1, -1], [2, 2, 2], [-1, -1, -1]], device=device) / 6
    falling = torch.tensor([[2.0, -1, -1], [-1, 2, -1], [-1, -1, 2]], device=device) / 6
    return [line, falling, line.T, falling.flip(1)]


def resized(maps: Tensor, size: Size) -> Tensor:
    """Maps of features averaged over areas, or upsampled, to a size, (image, feature, y, x)."""
    if size[0] <= maps.shape[2] and size[1] <= maps.shape[3]:
        return adaptive_avg_pool2d(maps, size)
    return interpolate(maps, size, mode="bilinear")


def explained(of_unit: np.ndarray, between: np.ndarray) -> np.ndarray:
    """Share of a unit's variance that the features explain together, R^2, (unit).

    Args:
        of_unit: Correlation of each unit with each feature, (unit, feature).
        between: Correlations of the features, (feature, feature).
    """
    return np.clip(np.einsum("uf,fg,ug->u", of_unit, np.linalg.pinv(between), of_unit), 0, 1)


def partial_correlation(
    r: np.ndarray, of_a: np.ndarray, of_b: np.ndarray, between: np.ndarray
) -> np.ndarray:
    """Correlation of pairs of units once both have been regressed on the features, (pair).

    Args:
        r: Correlation of each pair.
        of_a: Correlations of its first unit with the features, (pair, feature).
        of_b: Those of its second unit.
        between: Correlations of the features, (feature, feature).

    Returns:
        In [-1, 1]; 0 where the features explain all of a unit.
    """
    shared = np.einsum("pf,fg,pg->p", of_a, np.linalg.pinv(between), of_b)
    left = (1 - explained(of_a, between)) * (1 - explained(of_b, between))
    with np.errstate(invalid="ignore", divide="ignore"):
        partial = np.where(left > 1e-12, (r - shared) / np.sqrt(left), 0.0)
    return np.clip(partial, -1, 1)
