"""Edits of a generator's maps (section 4.2): what the latent is then optimised to show.

All take and return maps of one layer, (image, unit, y, x).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from rosetta_steps.editing.kinds import DIRECTION, FACTOR, KINDS, LEVEL
from rosetta_steps.maps.resampling import Size, size_of
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.stimuli.image_files import UnreadableImage, read_image

# A mask whose brightest place is below this has no white.
WHITE = 0.5


def zoom_in(maps: Tensor) -> Tensor:
    """Twice the size, bilinearly, and its centre (of an odd size, half a pixel up and left)."""
    y, x = maps.shape[2:]
    large = functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    return large[..., y // 2 : y // 2 + y, x // 2 : x // 2 + x]


def shift(maps: Tensor, direction: tuple[float, float]) -> Tensor:
    """Move maps down and right; zeros come in.

    Args:
        maps: Of any size.
        direction: (dy, dx) as shares of the size: (0, 0.25) moves a 4 x 4 map right by one pixel
            and an 8 x 8 map by two. What is no whole number of pixels is rounded to the nearest.
    """
    down, right = pixels(direction, size_of(maps))
    y, x = maps.shape[2:]
    moved = torch.zeros_like(maps)
    moved[..., max(down, 0) : y + min(down, 0), max(right, 0) : x + min(right, 0)] = maps[
        ..., max(-down, 0) : y - max(down, 0), max(-right, 0) : x - max(right, 0)
    ]
    return moved


def pixels(direction: tuple[float, float], size: Size) -> tuple[int, int]:
    """A shift in whole pixels, down and right; halves are rounded away from zero."""

    def nearest(share: float, length: int) -> int:
        return int(math.copysign(math.floor(abs(share) * length + 0.5), share))

    return nearest(direction[0], size[0]), nearest(direction[1], size[1])


def copy_and_paste(maps: Tensor, direction: tuple[float, float]) -> Tensor:
    """The left half of the maps shifted left, beside the right half of them shifted right.

    What was in the middle is then there twice.

    Args:
        maps: Of any size.
        direction: (dy, dx) of the right-hand copy, as in `shift`; the left-hand one moves the
            opposite way. Where dx is 0, the halves are the upper and the lower one.
    """
    axis = 3 if direction[1] else 2
    sign = math.copysign(1, direction[axis - 2])
    after = (sign * direction[0], sign * direction[1])
    before = (-after[0], -after[1])
    half = maps.shape[axis] // 2
    first = shift(maps, before).narrow(axis, 0, half)
    last = shift(maps, after).narrow(axis, half, maps.shape[axis] - half)
    return torch.cat([first, last], axis)


def remove(maps: Tensor) -> Tensor:
    """Every map at its own least value on its image, everywhere."""
    return maps.amin((2, 3), keepdim=True).expand_as(maps).clone()


def amplify(maps: Tensor, factor: float) -> Tensor:
    """Heights above a map's own least value times a factor.

    After a ReLU that least value is mostly 0, and the map itself is multiplied: what is silent
    stays silent, which a factor about the dataset's mean would not allow. A factor of 0 removes.
    """
    least = maps.amin((2, 3), keepdim=True)
    return least + factor * (maps - least)


def paint(maps: Tensor, mask: Tensor, minimum: Tensor, maximum: Tensor, level: float) -> Tensor:
    """Each unit at one level where a mask is white, as it was where it is black, else in between.

    Args:
        maps: Of any size.
        mask: In [0, 1], (y, x), of the size of the image; averaged over each position of the maps.
        minimum: Of each unit over the dataset, (unit).
        maximum: The same.
        level: 0 paints the minimum, 1 the maximum.
    """
    share = functional.adaptive_avg_pool2d(mask[None, None].to(maps), size_of(maps))
    value = (minimum + level * (maximum - minimum)).to(maps)[:, None, None]
    return maps + share * (value - maps)


@dataclass(frozen=True)
class Edit:
    """An edit and its numbers.

    Attributes:
        kind: One of KINDS.
        direction: (dy, dx) of shift and copy_and_paste, as shares of the size.
        factor: Of amplify.
        level: Of paint.
        mask: Of paint, (y, x) in [0, 1].

    Raises:
        ValueError: There is no such edit, or its numbers would change nothing or make no sense.
    """

    kind: str
    direction: tuple[float, float] = DIRECTION
    factor: float = FACTOR
    level: float = LEVEL
    mask: np.ndarray | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f"no edit '{self.kind}': choose one of {', '.join(KINDS)}.")
        if not all(abs(share) < 1 for share in self.direction):
            raise UserError(
                f"shift {_words(self.direction)} moves maps out of the image: give shares of its "
                "height and width between -1 and 1."
            )
        if self.kind == "amplify" and not (self.factor >= 0 and self.factor != 1):
            raise UserError(f"factor {self.factor} must be at least 0, and 1 changes nothing.")
        if self.kind == "paint" and not 0 <= self.level <= 1:
            raise UserError(f"level {self.level} must lie between 0 and 1.")
        if self.kind == "paint" and self.mask is None:
            raise UserError("paint needs a mask: an image, white where units are to be strong.")

    def check(self, sizes: Iterable[Size]) -> None:
        """Raise a ValueError if maps of these sizes, (y, x) each, are too small for the shift."""
        sizes = list(sizes)
        if not KINDS[self.kind].moves:
            return
        if not any(any(pixels(self.direction, size)) for size in sizes):
            largest = max(max(size) for size in sizes)
            raise UserError(
                f"shift {_words(self.direction)} moves no layer by a whole pixel: the largest maps "
                f"have {largest} pixels a side, so give at least {0.5 / largest:.3g}."
            )

    def __call__(self, maps: Tensor, minimum: Tensor, maximum: Tensor) -> Tensor:
        """Edited maps of a layer, (image, unit, y, x).

        Args:
            maps: As they are.
            minimum: Of each unit over the dataset, (unit).
            maximum: The same.
        """
        return OPERATIONS[self.kind](self, maps, minimum, maximum)

    def attrs(self) -> dict:
        """For the attributes of a store: the numbers that this kind of edit has."""
        own = {"shift": list(self.direction), "factor": self.factor, "level": self.level}
        numbers = KINDS[self.kind].numbers
        return {"edit": self.kind, **{key: own[key] for key in own if key in numbers}}


OPERATIONS: dict[str, Callable[[Edit, Tensor, Tensor, Tensor], Tensor]] = {
    "zoom_in": lambda edit, maps, *_: zoom_in(maps),
    "shift": lambda edit, maps, *_: shift(maps, edit.direction),
    "copy_and_paste": lambda edit, maps, *_: copy_and_paste(maps, edit.direction),
    "remove": lambda edit, maps, *_: remove(maps),
    "amplify": lambda edit, maps, *_: amplify(maps, edit.factor),
    "paint": lambda edit, maps, minimum, maximum: paint(
        maps, torch.from_numpy(edit.mask), minimum, maximum, edit.level
    ),
}


def read_mask(path: Path, size: Size) -> np.ndarray:
    """A mask image as grey values in [0, 1], (y, x) float32.

    Args:
        path: Of an image file.
        size: (y, x) of the generator's images.

    Raises:
        ValueError: It is no image, of another size, transparent in places, or has no white.
    """
    try:
        grey = read_image(path, size)[0].mean(0)
    except (UnreadableImage, OSError) as error:
        raise UserError(f"the mask {path} cannot be read: {error}.") from None
    with Image.open(path) as image:
        found, transparent = image.size[::-1], image.has_transparency_data
    if found != tuple(size):
        raise UserError(
            f"the mask {path} has {found[1]} x {found[0]} pixels and the generator's images "
            f"{size[1]} x {size[0]}: resize it."
        )
    if transparent:
        raise UserError(
            f"the mask {path} has transparency, of which nobody can say if it is black or white: "
            "save it without an alpha channel."
        )
    if grey.max() < WHITE:
        raise UserError(
            f"the mask {path} has no white: its brightest pixel is {grey.max():.2f} of 1. Paint "
            "white where the units are to be strong, black elsewhere."
        )
    return np.ascontiguousarray(grey, dtype=np.float32)


def _words(direction: tuple[float, float]) -> str:
    return f"{direction[0]:g} {direction[1]:g}"
