"""Lists of single images, such as config/examples/face-photos.yaml, with the source of each image.

The workflow imports this module while it is parsed, so it imports no slow library.
"""

from pathlib import Path

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.digests import digest_of
from rosetta_steps.zoo.entries import check, read_yaml
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.weights import describe, location, sha256_of_weights, weights_file


def read_list(path: Path) -> dict[str, dict]:
    """Read the entries of a list by name, in the order of the file.

    The format is defined in workflow/schemas/pictures.schema.yaml.

    Raises:
        ValueError: The file is missing or no YAML, has a name twice, or an entry does not follow
            the schema. The message names file, place and remedy.
    """
    entries = read_yaml(Path(path))
    check(entries, "pictures", str(path))
    return entries


def list_digest(path: Path) -> str:
    """Return a digest (12 hexadecimal digits) of the images of a list.

    Sources and licences given in words do not change it. Local files count by their sha256, because
    a copied file may keep its modification time. No file is downloaded.

    Raises:
        ValueError: read_list refuses the file.
    """
    matter = []
    for name, entry in read_list(path).items():
        shown = {key: entry[key] for key in entry if key not in ("source", "licence")}
        local = "path" in entry["picture"]
        matter.append([name, shown, sha256_of_weights(name, _fetched(entry)) if local else None])
    return digest_of(matter)


def picture_file(name: str, entry: dict) -> Path:
    """Return the path of an image's file, downloaded if the cache lacks it and checked by sha256.

    Args:
        name: Name of the image, for errors.
        entry: Its entry in the list.

    Raises:
        ValueError: The file is missing or cannot be downloaded, or its sha256 is not the entry's.
    """
    fetched = _fetched(entry)
    if fetched.weights.path and not location(fetched).is_file():
        raise UserError(
            f"{name}: there is no file {location(fetched)} in the working folder {Path.cwd()}. "
            "Put it there, or correct picture.path of its entry."
        )
    return weights_file(name, fetched)


def described(entry: dict) -> str:
    """Describe the source of an image in words."""
    return describe(_fetched(entry).weights)


def _fetched(entry: dict) -> Entry:
    # Returns an entry of a model, so that the code for weights downloads and checks images.
    return Entry.from_mapping({"architecture": "photo", "weights": entry["picture"]})
