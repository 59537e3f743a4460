"""Search for image files by folder or glob, and reading of an image as float32 RGB in [0, 1].

The workflow imports this module while it is parsed, so it imports no slow library.
"""

import glob
import os
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.digests import digest_of

INTERPOLATION = "bicubic with antialias; the whole image, so that its aspect ratio changes"

# Pillow recognises some formats without decoding them, and passes EPS to Ghostscript, which would
# execute the file.
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# File name endings of phone, camera and drawing formats, including some Pillow does not decode.
IMAGE_ENDINGS = re.compile(
    r"\.(3fr|ai|ari|arw|avifs?|bpg|cr[23w]|dcr|dng|emf|eps|erf|exr|fff|hdr|hei[cf]s?|hif|iiq|j2c|jp2|"
    r"jpe?g|jx[lr]|kdc|kra|mef|mos|mrw|nef|nrw|orf|pef|png|ps|ps[bd]|ptx|raf|raw|rw[2l]|sr[2fw]|"
    r"svgz?|tiff?|wdp|webp|wmf|x3f|xcf)"
)
TRANSPOSE_OF_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


CONVERT = "Convert images of other formats to .jpg or .png."


class UnreadableImage(UserError):
    """The file is no image or cannot be read completely; the message says why, without its name."""


def matched_files(patterns: list[str]) -> tuple[Path, list[str]]:
    """Find the files given by folders, globs and paths, each file once, sorted by path.

    A folder stands for all files below it whose ending is that of an image format Pillow decodes;
    other files are ignored. A glob (`**`: any folders) stands for every file it matches. Both skip
    hidden files and folders. A file that is reached by two paths, for example through a link to a
    folder, is returned once.

    Args:
        patterns: Folders, globs or paths, relative to the working folder; `~` is the home.

    Returns:
        The deepest folder that contains all files, and their paths relative to it.

    Raises:
        ValueError: A folder has no image, or a glob matches nothing.
        OSError: A folder cannot be listed.
    """
    found: dict[str, str] = {}
    folders = lru_cache(maxsize=None)(os.path.realpath)
    for pattern in patterns:
        for match in _matches(pattern):
            path = os.path.abspath(match)
            folder, name = os.path.split(path)
            file = os.path.join(folders(folder), name)
            found[file] = min(path, found.get(file, path), key=lambda p: (len(p), p))
    if not found:
        raise UserError("no images: give at least one folder or glob, such as 'photos/*.jpg'.")
    common = os.path.commonpath({os.path.dirname(path) for path in found.values()})
    return Path(common), sorted(os.path.relpath(path, common) for path in found.values())


def other_files(patterns: list[str]) -> list[str]:
    """Find the files below folders that matched_files ignores for their endings, sorted by path.

    Args:
        patterns: Folders, globs or paths, as in matched_files; only folders are searched.

    Raises:
        OSError: A folder cannot be listed.
    """
    folders = [path for path in map(os.path.expanduser, patterns) if os.path.isdir(path)]
    others = {os.path.abspath(file) for folder in folders for file in _files_below(folder)[1]}
    return sorted(others)


def is_image_by_name(path: str) -> bool:
    """Whether a file's ending is that of an image format, even if Pillow does not decode it."""
    return IMAGE_ENDINGS.fullmatch(_ending(path)) is not None


def endings_in_words(files: list[str], between: str = "", most: int = 5) -> str:
    """Return the number of files by ending, most frequent first, such as "10 .heic, 2 .txt"."""
    counts = Counter(_ending(file) or "no ending" for file in files)
    words = [f"{count} {between}{ending}" for ending, count in counts.most_common(most)]
    return ", ".join(words + ["..."] * (len(counts) > most))


def folder_digest(patterns: list[str]) -> str:
    """Return a digest (12 hexadecimal digits) of names, sizes and times of the matched files.

    Contents are not read. Paths are relative to the folder that contains all files, so that a
    folder moved with its modification times keeps its digest.

    Raises:
        ValueError: A folder has no image, or a glob matches nothing.
        OSError: A folder cannot be listed.
    """
    folder, names = matched_files(patterns)
    return digest_of([[name, *_size_and_time(folder / name)] for name in names])


def read_image(
    path: Path, size: tuple[int, int], box: tuple[int, int, int, int] | None = None
) -> tuple[np.ndarray, bool]:
    """Read one image, or a box of it, in upright orientation and resized.

    Values are those of the file divided by their full range (255, or 65535 for 16-bit grey; Pillow
    keeps the upper 8 bits of 16-bit colour), not linearised. Colour profiles are not applied, so
    CMYK is converted by Pillow approximately. Transparent pixels become white. Of an animation the
    first frame is read, of a file with several pages the first page. The EXIF orientation is
    applied.

    A JPEG that ends early is refused. Damage within a JPEG that ends properly is not detected,
    because Pillow does not report the decoder's warnings.

    Args:
        path: Path of the file.
        size: Height and width of the result in pixels.
        box: Top, left, height and width in pixels of the upright image; None reads the whole image.
            The box is cut out before resizing, so that no pixel around it has an effect.

    Returns:
        The image, (rgb, y, x) float32 in [0, 1], and whether the file has further frames or pages.

    Raises:
        UnreadableImage: The file cannot be read as an image; the message gives the reason.
    """
    try:
        _refuse_what_holds_no_bytes(path)
        with Image.open(path, formats=_formats()) as image:
            # The second picture of a phone's MPO is a preview or gain map of the first.
            several = getattr(image, "is_animated", False) and image.format != "MPO"
            image.load()
            channels, white = _channels(image)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("no image in a format that Pillow decodes") from None
    except Exception as error:  # Pillow's decoders raise anything when a file is damaged.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableImage(reason) from error
    if box is not None:
        channels = [_cut(channel, *box) for channel in channels]
    y, x = size
    # Resized as float, because Pillow rounds and clips 8-bit values between the two axes, which
    # changes results by up to 6 / 255.
    resized = [
        np.asarray(c.convert("F").resize((x, y), Image.Resampling.BICUBIC)) for c in channels
    ]
    picture = np.clip(np.stack(resized) / np.float32(white), 0, 1)  # bicubic overshoots
    return np.broadcast_to(picture, (3, y, x)), several


def _matches(pattern: str) -> list[str]:
    path = os.path.expanduser(pattern)
    if os.path.isdir(path):
        return _images_below(path)
    if os.path.lexists(path):
        return [path]
    found = glob.glob(path, recursive=True)
    if "**" in path:  # such a glob matches folders too
        found = [f for f in found if _ending(f) in _endings() or not os.path.isdir(f)]
    if not found:
        raise UserError(
            f"no file matches '{pattern}' in the working folder {os.getcwd()}. Expected a folder "
            "or a quoted glob of images, such as 'photos/**/*.jpg'; *.jpg does not match A.JPG."
        )
    return found


def _images_below(top: str) -> list[str]:
    found, others = _files_below(top)
    if not found:
        endings = endings_in_words(others, "with ") or "none"
        convert = f" {CONVERT}" if any(map(is_image_by_name, others)) else ""
        raise UserError(
            f"no image below the folder {os.path.abspath(top)} (files: {endings}). Expected "
            f"endings of formats that Pillow decodes, such as .jpg, .png, .webp or .tif.{convert}"
        )
    return found


def _files_below(top: str) -> tuple[list[str], list[str]]:
    """Return files whose ending is that of a format Pillow decodes, and all other files."""
    seen: set[str] = set()
    found: list[str] = []
    others: list[str] = []
    for folder, folders, files in os.walk(top, followlinks=True, onerror=_raise):
        real = os.path.realpath(folder)
        if real in seen:  # a link back to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        shown = [file for file in files if not file.startswith(".")]
        for file in shown:
            kind = found if _ending(file) in _endings() else others
            kind.append(os.path.join(folder, file))
    return found, others


def _raise(error: OSError) -> None:
    raise error


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


@lru_cache
def _endings() -> frozenset[str]:
    known = Image.registered_extensions()
    return frozenset(ending for ending, name in known.items() if name in _formats())


@lru_cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name not in NOT_DECODED)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _refuse_what_holds_no_bytes(path: Path) -> None:
    path = Path(path)
    if path.is_dir():
        raise UnreadableImage("a folder, not a file; name the folder itself to read what is in it")
    if path.is_symlink() and not path.exists():
        raise UnreadableImage(f"a link to {os.readlink(path)}, which does not exist")
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise UnreadableImage("not a regular file")
    if path.stat().st_size == 0:
        raise UnreadableImage("the file is empty")


def _channels(image: Image.Image) -> tuple[list[Image.Image], int]:
    """Return the upright channels (one if grey, else three) and the value of white in them."""
    kind, transpose = image.format, TRANSPOSE_OF_ORIENTATION.get(_orientation(image))
    if transpose is not None:
        image = image.transpose(transpose)
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        return [Image.fromarray(np.asarray(image).astype(np.float32))], 65535
    if image.mode in ("I", "F"):
        raise UnreadableImage(
            f"32-bit values (Pillow's mode {image.mode}), of which white is not known; "
            "save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    return list(image.split()), 255


def _cut(channel: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    if min(top, left, channel.height - top - height, channel.width - left - width) < 0:
        raise UnreadableImage(
            f"the box of {height} by {width} pixels (y by x) from row {top} and column {left} does "
            f"not lie inside the picture, which has {channel.height} by {channel.width}"
        )
    return channel.crop((left, top, left + width, top + height))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Damaged EXIF does not matter: the pixels have been decoded.
        return 1
