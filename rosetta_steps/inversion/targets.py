"""Target images in the size of the generator that they are inverted through."""

from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional

from rosetta_steps.maps.resampling import Size, size_of
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.protocols import TorchGenerator

OUTSIDE = 1e-3  # how far beyond [0, 1] rounding may carry a value
IMAGES_PER_BLOCK = 64


def check_targets(path: Path, samples: xr.Dataset) -> None:
    """Refuse what cannot be inverted.

    Args:
        path: Of the store, for the message.
        samples: What it holds.

    Raises:
        ValueError: It has no images, they are not RGB, or their values are not in [0, 1].
    """
    if "image" not in samples:
        has = ", ".join(map(str, samples.data_vars)) or "nothing"
        raise UserError(f"{path} has no variable image, only {has}: give a samples store.")
    images = samples["image"]
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"{path}: image is {dict(images.sizes)}, not (image, rgb, y, x) with 3 channels: "
            "convert the images to RGB."
        )
    if not len(images):
        raise UserError(f"{path} has 0 images: sample or import at least one.")
    low, high = np.inf, -np.inf
    for block in image_blocks(len(images), IMAGES_PER_BLOCK):
        values = images[block].values
        low, high = np.minimum(low, values.min()), np.maximum(high, values.max())  # keep NaN
    if not (low >= -OUTSIDE and high <= 1 + OUTSIDE):
        raise UserError(
            f"{path}: values of image are from {low:g} to {high:g}, not in [0, 1]: scale them, "
            "such as by 1 / 255 for bytes."
        )


def refuse_overwriting(output: Path, given: Path, option: str) -> None:
    """Refuse to write a store over the one that is read.

    Args:
        output: To write.
        given: To read.
        option: Of the command line that names it.

    Raises:
        ValueError: Both are one path.
    """
    if Path(output).resolve() == Path(given).resolve():
        raise UserError(f"--output {output} is what {option} reads: give another --output.")


def image_size(generator: TorchGenerator) -> Size:
    """Return height and width of a generator's images, which are those of one that it makes.

    For a pass without values torch would import its compiler, which takes longer.
    """
    z = torch.zeros(1, generator.latent_size, device=generator.device)
    label = torch.zeros(1, dtype=torch.long, device=z.device) if generator.classes else None
    with torch.no_grad():
        return size_of(generator.raw(z, label, 1.0))


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images in another size: bicubic, smoothed before they shrink, stretched and never cropped.

    Args:
        images: (image, rgb, y, x) in [0, 1].
        size: (y, x) in pixels.

    Returns:
        (image, rgb, y, x) in [0, 1]; the same tensor where the size is right.
    """
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return functional.interpolate(
        images, size, mode="bicubic", align_corners=False, antialias=True
    ).clamp(0, 1)
