"""Lists of single pictures, such as config/face-photos.yaml: what each is, and where it lies.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

from pathlib import Path

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.digests import digest_of
from rosetta_steps.zoo.entries import check, read_yaml
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.weights import describe, location, sha256_of_weights, weights_file


def read_list(path: Path) -> dict[str, dict]:
    """The entries of a list by name, in its order, as workflow/schemas/pictures.schema.yaml has it.

    Raises:
        ValueError: The file is missing or no YAML, a name stands in it twice, or an entry does not
            follow the schema: file, place and remedy.
    """
    entries = read_yaml(Path(path))
    check(entries, "pictures", str(path))
    return entries


def list_digest(path: Path) -> str:
    """Twelve hexadecimal digits that change with the pictures of a list and not with its words.

    Local files count by their sha256: a file copied with its times may be another. Nothing is
    fetched.

    Raises:
        ValueError: As read_list.
    """
    matter = []
    for name, entry in read_list(path).items():
        shown = {key: entry[key] for key in entry if key not in ("source", "licence")}
        local = "path" in entry["picture"]
        matter.append([name, shown, sha256_of_weights(name, _fetched(entry)) if local else None])
    return digest_of(matter)


def picture_file(name: str, entry: dict) -> Path:
    """The checked file of a picture, fetched when the cache lacks it: as weights are.

    Args:
        name: Of the picture, for errors.
        entry: Of a list.

    Raises:
        ValueError: It cannot be had, or its sha256 is not the entry's.
    """
    fetched = _fetched(entry)
    if fetched.weights.path and not location(fetched).is_file():
        raise UserError(
            f"{name}: there is no file {location(fetched)} in the working folder {Path.cwd()}. "
            "Put it there, or correct picture.path of its entry."
        )
    return weights_file(name, fetched)


def described(entry: dict) -> str:
    """Where a picture comes from, in words."""
    return describe(_fetched(entry).weights)


def _fetched(entry: dict) -> Entry:
    # An entry of a model, so that pictures are fetched, kept and checked by the same code.
    return Entry.from_mapping({"architecture": "photo", "weights": entry["picture"]})
