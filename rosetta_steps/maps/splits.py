"""Splits of the images, by which a correlation can be tested on images not used to find it."""

import numpy as np
import xarray as xr

from rosetta_steps.runtime.errors import UserError

SEED = 0
PREFIX = "split_"
FEWEST = 2  # images of a split: one image alone would correlate its own positions


def split_of(images: int, splits: int) -> np.ndarray:
    """Return the split that each image belongs to, (image) int.

    Images are assigned at random, with a fixed seed and almost equal numbers. So splits do not
    differ systematically, whether images are sorted by class or classes alternate.
    """
    return np.random.default_rng(SEED).permutation(np.arange(images) % splits)


def refuse_splits(images: int, splits: int) -> None:
    """Refuse a number of splits that is too large for the number of images.

    Raises:
        ValueError: A split would have fewer than FEWEST images; the message gives the range.
    """
    if splits == 1 or (splits > 1 and images >= FEWEST * splits):
        return
    raise UserError(
        f"{splits} splits of {images} images: at least {FEWEST} images in each, so give 1 (none) to"
        f" {max(1, images // FEWEST)} (--splits, in the config correlation.splits)."
    )


def of_split(moments: xr.Dataset, split: int) -> xr.Dataset:
    """Return the moments of a layer on one split, with the variable names of the whole set."""
    found = moments[[name for name in moments if str(name).startswith(PREFIX)]].isel(split=split)
    return found.rename({name: str(name).removeprefix(PREFIX) for name in found})
