"""Parts of the images whose sums are kept apart: does a correlation hold on images not seen?"""

import numpy as np
import xarray as xr

from rosetta_steps.runtime.errors import UserError

SEED = 0
PREFIX = "split_"
FEWEST = 2  # images of a split: one image alone would correlate its own positions


def split_of(images: int, splits: int) -> np.ndarray:
    """Which split each image is in, (image) int.

    Drawn once for all, as even as can be: neither images sorted by class nor classes in turn make
    the splits differ.
    """
    return np.random.default_rng(SEED).permutation(np.arange(images) % splits)


def refuse_splits(images: int, splits: int) -> None:
    """Refuse a number of splits that so many images cannot be put into.

    Raises:
        ValueError: Names both numbers and what is possible.
    """
    if splits == 1 or (splits > 1 and images >= FEWEST * splits):
        return
    raise UserError(
        f"{splits} splits of {images} images: at least {FEWEST} images in each, so give 1 (none) to"
        f" {max(1, images // FEWEST)} (--splits, in the config correlation.splits)."
    )


def of_split(moments: xr.Dataset, split: int) -> xr.Dataset:
    """The moments of a layer on the images of one split, named as those of all images are."""
    found = moments[[name for name in moments if str(name).startswith(PREFIX)]].isel(split=split)
    return found.rename({name: str(name).removeprefix(PREFIX) for name in found})
