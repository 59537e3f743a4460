"""Pictures of a list: each cut out, resized and, where its entry says so, drawn."""

import sys
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.stimuli.image_files import UnreadableImage, read_image
from rosetta_steps.stimuli.picture_list import described, picture_file, read_list
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import Provenance

INTERPOLATION = "bicubic with antialias; the whole box, so that its aspect ratio may change"
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as grey JPEGs have it
# Standard deviation of the blur by the shorter side: wide enough that eyes, mouth and hair are
# drawn at 64 pixels a side, narrow enough that cheeks stay paper. Chosen by looking.
BLUR = 0.05


def sketch(picture: np.ndarray) -> np.ndarray:
    """Draw a picture with a pencil: its grey under a colour dodge of its inverted, blurred grey.

    A dodge divides by what its upper layer leaves of white, here the blurred grey. So what is as
    light as its surroundings becomes white paper, and what is darker a line or a shade, squared to
    be as dark as a soft pencil. The same for a picture and for it in other lighting, as far as that
    is a factor.

    Args:
        picture: (rgb, y, x) in [0, 1].

    Returns:
        (rgb, y, x) float32 in [0, 1], the same in all three channels.
    """
    grey = np.tensordot(LUMA, picture, 1)
    blurred = gaussian_filter(grey, BLUR * min(grey.shape), mode="nearest")
    drawn = np.clip(grey / np.maximum(blurred, np.float32(1 / 255)), 0, 1) ** 2
    return np.broadcast_to(drawn.astype(np.float32), picture.shape)


FILTERS = {"sketch": sketch}


def gather(listing: Path, size: tuple[int, int], output: Path, identity: str | None = None) -> None:
    """Write the pictures of a list as the samples of a sample set, whole or not at all.

    The store has `image` (image, rgb, y, x), float32 in [0, 1], and `file` (image), the names of
    the pictures, in the order of the list; its attributes hold the entries. A filter sees the
    picture in its final size, so that its lines are as wide whatever the file's resolution.

    Args:
        listing: A YAML file, as picture_list.read_list takes it.
        size: y and x of all images, to which the boxes are stretched.
        output: X.zarr to write.
        identity: As Provenance has it.

    Raises:
        ValueError: The list is not in order, a file cannot be had or is no image, a box does not
            lie inside its picture, or the size is not positive.
        StoreError: The disk is full.
    """
    if min(size) < 1:
        raise UserError(f"size {size}: expected numbers of at least 1.")
    entries = read_list(listing)
    images, first_frame = [], []
    for name, entry in tqdm(entries.items(), desc="reading pictures", unit="picture"):
        image, several = _image(listing, name, entry, size)
        images.append(image)
        first_frame += [name] * several
    if first_frame:
        print(
            f"Of {', '.join(first_frame)}, with several frames or pages, the first was taken.",
            file=sys.stderr,
        )
    shown = {
        "image": (("image", "rgb", "y", "x"), np.stack(images), {"long_name": "in [0, 1]"}),
        "file": (("image",), np.array(list(entries))),
    }
    attrs = {
        "list": str(listing),
        "size": list(size),
        "pictures": entries,
        "first_frame": first_frame,
        "interpolation": INTERPOLATION,
    }
    provenance = Provenance("samples", sample_set=output.stem, identity=identity)
    write_dataset(xr.Dataset(shown, attrs=attrs), output, provenance)


def _image(listing: Path, name: str, entry: dict, size: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """(rgb, y, x) in [0, 1] of one entry, and whether its file has further frames."""
    path = picture_file(name, entry)
    box = entry.get("box")
    try:
        image, several = read_image(path, size, None if box is None else tuple(box))
    except UnreadableImage as error:
        raise UserError(
            f"{listing}, at {name}: {path} ({described(entry)}) gives no picture: {error}. "
            "Correct the entry, or take it out of the list."
        ) from None
    if "filter" in entry:
        image = FILTERS[entry["filter"]](image)
    return image, several
