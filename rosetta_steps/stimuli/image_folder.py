"""The images of folders or globs, resized block by block into a sample set."""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.stimuli.image_files import (
    CONVERT,
    INTERPOLATION,
    UnreadableImage,
    endings_in_words,
    is_image_by_name,
    matched_files,
    other_files,
    read_image,
)
from rosetta_steps.storage.datasets import whole_store
from rosetta_steps.storage.files import explain_write_errors
from rosetta_steps.storage.manifests import Provenance
from rosetta_steps.storage.portable import fixed_width, plain_attrs

IMAGES_PER_BLOCK = 32
READERS = 4  # threads; Pillow decodes outside Python's lock
LISTED = 20  # files that a message names


@dataclass
class Noted:
    """What there is to say about the files read so far.

    Attributes:
        unreadable: "name: reason" of each.
        first: The first image that was kept.
        differ: Whether another one was not equal to it.
        first_frame: Names of files of several frames.
    """

    unreadable: list[str] = field(default_factory=list)
    first: np.ndarray | None = None
    differ: bool = False
    first_frame: list[str] = field(default_factory=list)

    def see(self, images: Iterable[np.ndarray]) -> None:
        """Take images into account that were kept."""
        for image in images:
            if self.first is None:
                self.first = image.copy()
            self.differ = self.differ or not np.array_equal(self.first, image)


def gather(
    patterns: list[str],
    size: tuple[int, int],
    output: Path,
    *,
    limit: int | None = None,
    unreadable: str = "refuse",
    per_class: int | None = None,
    identity: str | None = None,
) -> None:
    """Write the images of folders or globs as the samples of a sample set, whole or not at all.

    The store has `image` (image, rgb, y, x), float32 in [0, 1], and `file` (image), the path
    relative to the folder that all files have in common, by which the images are sorted. Memory
    is bounded by a block of images. Files of folders with other endings are left out, counted and,
    where the ending is that of an image format, named.

    Args:
        patterns: Folders, globs or paths, as matched_files takes them.
        size: y and x of all images, which are stretched to it and never cropped.
        output: X.zarr to write.
        limit: So many readable images, the first by path.
        unreadable: "refuse" raises if a file cannot be read, "skip" leaves it out.
        per_class: Take the first so many readable images of every folder, whose name is a WordNet
            number of ImageNet (n01440764), and write its class index as `label` (image).
        identity: As Provenance has it.

    Raises:
        ValueError: A pattern matches nothing, a file cannot be read (all are named), fewer than
            two images or than the limit are left, all are the same, the size or limit is not
            positive, or a folder is of no class or has fewer images than asked for.
        StoreError: The disk is full.
    """
    if min(*size, 1 if limit is None else limit) < 1:
        raise UserError(f"size {size}, limit {limit}: expected numbers of at least 1.")
    folder, names = matched_files(patterns)
    others = [os.path.relpath(file, folder) for file in other_files(patterns)]
    undecoded = [_shown(name) for name in others if is_image_by_name(name)]
    noted = Noted()
    kept: list[str] = []
    of_class = imagenet_classes(folder, names) if per_class else {}
    pictures = _readable(folder, names, size, noted)
    if per_class:
        asked = dict.fromkeys(of_class.values(), per_class)
        pictures, wanted = first_of_each(pictures, of_class, asked), sum(asked.values())
    else:
        wanted = len(names) if limit is None else min(limit, len(names))
    pictures = islice(pictures, wanted if limit is None else min(limit, wanted))
    readable = iter(tqdm(pictures, total=wanted, desc="reading images", unit="image"))
    provenance = Provenance("samples", sample_set=output.stem, identity=identity)
    with whole_store(output, provenance) as store:
        while block := list(islice(readable, IMAGES_PER_BLOCK)):
            if noted.unreadable and unreadable == "refuse":
                continue  # to the end, so that the error names every file
            noted.see(picture for _, picture in block)
            with explain_write_errors(output):
                _append(store, block, not kept, of_class, max(map(len, names)))
            kept += [name for name, _ in block]
        if per_class and (few := {c: n for c, n in asked.items() if n}) and limit is None:
            of_few = (folder / name for name in names if of_class[name] in few)
            short = sorted({path.parent.name for path in of_few})
            raise UserError(
                f"{len(short)} folders in {folder} have fewer than {per_class} readable images: "
                f"{', '.join(short[:5])}{', ...' if len(short) > 5 else ''}. Ask for fewer a class."
            )
        listing = _listing(noted.unreadable)
        if noted.unreadable and unreadable == "refuse":
            raise UserError(
                f"{len(noted.unreadable)} of {len(names)} files in {folder} cannot be read:\n"
                f"{listing}\nMend or remove them, or leave them out (unreadable: skip in the "
                "sample set, --unreadable skip by hand)."
            )
        if limit is not None and len(kept) < limit:
            raise UserError(
                f"{limit} images were asked for, and {folder} has {len(kept)} that can be read, of "
                f"{len(names)} matched files: ask for fewer (images in the sample set, --limit by "
                f"hand), or for all by leaving it out.{listing and chr(10) + listing}"
            )
        if len(kept) < 2:
            raise UserError(
                f"{len(kept)} readable of {len(names)} matched files in {folder}: a correlation "
                f"over images needs at least two.{listing and chr(10) + listing}"
            )
        if not noted.differ:
            raise UserError(
                f"all {len(kept)} images of {folder} are the same: nothing varies that could "
                "correlate. Give other files."
            )
        attrs = {
            "images": list(patterns),
            "size": list(size),
            "unreadable": noted.unreadable,
            "first_frame": noted.first_frame,
            "other_endings": endings_in_words(others, most=len(others)),
            "undecoded": undecoded,
            "interpolation": INTERPOLATION,
        }
        with explain_write_errors(output):
            xr.Dataset(attrs=plain_attrs(attrs)).to_zarr(store, mode="a", consolidated=False)
    if noted.unreadable:
        print(f"{len(noted.unreadable)} files left out:\n{listing}", file=sys.stderr)
    if others:
        print(
            f"{len(others)} files with other endings were left out: {endings_in_words(others)}.",
            file=sys.stderr,
        )
    if undecoded:
        print(
            f"{len(undecoded)} of them are images in formats that Pillow does not decode here:\n"
            f"{_listing(undecoded)}\n{CONVERT}",
            file=sys.stderr,
        )
    if noted.first_frame:
        print(
            f"Of {len(noted.first_frame)} files with several frames or pages, the first was taken:"
            f"\n{_listing(noted.first_frame)}",
            file=sys.stderr,
        )


def _readable(
    folder: Path, names: list[str], size: tuple[int, int], noted: Noted
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and picture (rgb, y, x) of each readable file in order; notes what is to be said."""

    def read(name: str):
        try:
            name.encode()
            return read_image(folder / name, size)
        except UnicodeEncodeError:
            return UnreadableImage("its name is not UTF-8; rename it"), False
        except UnreadableImage as error:
            return error, False

    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(names), IMAGES_PER_BLOCK):
            block = names[start : start + IMAGES_PER_BLOCK]
            for name, (picture, several) in zip(block, pool.map(read, block), strict=True):
                if isinstance(picture, UnreadableImage):
                    noted.unreadable.append(f"{_shown(name)}: {picture}")
                    continue
                if several:
                    noted.first_frame.append(name)
                yield name, picture


def imagenet_classes(folder: Path, names: list[str]) -> dict[str, int]:
    """Class index of files whose folders are named by the WordNet numbers of ImageNet.

    Raises:
        ValueError: A folder is of no class.
    """
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    index = {info.index_to_label_name(i): i for i in range(info.num_classes())}
    found = {}
    for name in names:
        parent = os.path.basename(os.path.dirname(folder / name))
        if parent not in index:
            raise UserError(
                f"{folder / name}: its folder '{parent}' is no class of ImageNet. With a number of "
                "images a class, images lie in folders such as n01440764."
            )
        found[name] = index[parent]
    return found


def first_of_each(
    pictures: Iterator[tuple[str, np.ndarray]], of_class: dict[str, int], asked: dict[int, int]
) -> Iterator[tuple[str, np.ndarray]]:
    """The first pictures of every class; `asked` counts down to those that are not there."""
    for name, picture in pictures:
        if asked[of_class[name]]:
            asked[of_class[name]] -= 1
            yield name, picture


def _append(
    store: Path,
    block: list[tuple[str, np.ndarray]],
    first: bool,
    of_class: dict[str, int],
    width: int,  # characters of the longest name of all blocks
) -> None:
    names, pictures = zip(*block, strict=True)
    files = fixed_width(np.array(names), width)
    images = (("image", "rgb", "y", "x"), np.stack(pictures), {"long_name": "in [0, 1]"})
    dataset = xr.Dataset({"image": images, "file": ("image", files)})
    if of_class:
        dataset["label"] = ("image", np.array([of_class[name] for name in names], dtype=np.int64))
    if first:
        chunks = {name: {"chunks": variable.shape} for name, variable in dataset.variables.items()}
        kind: dict[str, Any] = {"mode": "w", "encoding": chunks}
    else:
        kind = {"append_dim": "image"}
    with warnings.catch_warnings():
        # As in stores.write_dataset.
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        dataset.to_zarr(store, consolidated=False, **kind)


def _shown(name: str) -> str:
    """A file's name, of which bytes that are no UTF-8 are written out."""
    return name.encode(errors="backslashreplace").decode()


def _listing(lines: list[str]) -> str:
    more = len(lines) - LISTED
    return "\n".join([f"  {line}" for line in lines[:LISTED]] + [f"  and {more} more"] * (more > 0))
