"""Low-level features of an image as maps: luminance, colour, contrast, edges, orientation, place.

The features that the evidence regresses on, and a model of the zoo without weights whose one layer
they are (loader: low-level), so that units can be correlated with them as with any other model's.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad

from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.models.architecture import read_architecture
from rosetta_steps.zoo.models.low_level_names import FEATURES, SCALES
from rosetta_steps.zoo.models.preprocessing import preprocessing_of
from rosetta_steps.zoo.models.torch_models import Model
from rosetta_steps.zoo.protocols import ImageModel

__all__ = ["FEATURES", "features", "load"]  # the names are of low_level_names, for its importers


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


class Features(nn.Module):
    """Images (image, rgb, y, x) in [0, 1] to their features, whose maps are units of the zoo."""

    nonlinearity = "none"

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps, (image, feature, y, x)."""
        return features(images)


def load(name: str, entry: Entry, weights: Path | None, device: str) -> ImageModel:
    """The features as a model: one layer `features` at the input size, channels as FEATURES.

    Raises:
        ValueError: Its entry has arguments, or says no size.
    """
    read_architecture(name, entry, ())
    default = {"interpolation": "bilinear", "mean": (0, 0, 0), "std": (1, 1, 1)}
    module = nn.Sequential()
    module.add_module("features", Features())
    at = "meta" if weights is None else device
    return Model(name, module, preprocessing_of(name, entry, default), at)
