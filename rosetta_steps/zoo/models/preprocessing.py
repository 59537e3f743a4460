"""From images in [0, 1] to what a model expects: the whole image, never cropped.

A crop would shift a model's maps against the generator's (with timm's crop of 0.875 only 55 of
139 best buddies stay the same), so only size, interpolation, mean and standard deviation are
taken from a model's own config.
"""

from dataclasses import KW_ONLY, MISSING, asdict, dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entry import Entry


@dataclass(frozen=True)
class Preprocessing:
    """Input of a model.

    Attributes:
        size: (y, x) in pixels.
        interpolation: bilinear or bicubic, antialiased, as in Pillow.
        mean: By channel, in the units of `scale`.
        std: By channel, in the units of `scale`.
        scale: Largest value of a pixel before mean and std: 1 or 255.
        order: RGB or BGR.
    """

    size: tuple[int, int]
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    _: KW_ONLY
    scale: float = 1.0
    order: str = "RGB"

    def __call__(self, images: Tensor) -> Tensor:
        """Resize and normalise images, (image, rgb, y, x) float32 in [0, 1]."""
        if tuple(images.shape[2:]) != tuple(self.size):
            images = functional.interpolate(
                images, self.size, mode=self.interpolation, align_corners=False, antialias=True
            ).clamp(0, 1)
        if self.order == "BGR":
            images = images.flip(1)
        column = images.new_tensor
        mean, std = column(self.mean).view(3, 1, 1), column(self.std).view(3, 1, 1)
        return (images * self.scale - mean) / std

    def attrs(self) -> dict:
        """For the attributes of a store."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }


def preprocessing_of(name: str, entry: Entry, default: dict) -> Preprocessing:
    """The model's own config, overridden by the `preprocessing` of its entry.

    Raises:
        ValueError: Both are silent on something.
    """
    merged = default | (entry.preprocessing or {})
    needed = [field.name for field in fields(Preprocessing) if field.default is MISSING]
    if missing := [key for key in needed if key not in merged]:
        raise UserError(
            f"the entry of {name} says nothing of {', '.join(missing)}, and neither does what it "
            "loads: add them under `preprocessing` in its entry."
        )
    for key in ("size", "mean", "std"):
        merged[key] = tuple(merged[key])
    return Preprocessing(**merged)


def no_images(size: tuple[int, int], device: str = "meta") -> Tensor:
    """One image without values, to ask a module on the meta device for its shapes."""
    return torch.empty(1, 3, *size, device=device)
