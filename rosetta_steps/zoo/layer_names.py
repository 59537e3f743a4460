"""Names of layers as groups of a Zarr store: which there cannot be."""

from collections.abc import Iterable

from rosetta_steps.runtime.errors import UserError

LONGEST = 200  # bytes; a name becomes a folder, and with an ending a file
RESERVED = ("zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata")
REMEDY = "Rename the module, or leave it out (layers: a list of patterns)."


def refuse_impossible_names(model: str, names: Iterable[str]) -> None:
    """Refuse layers whose maps no store could hold under their names.

    Args:
        model: Their model, for errors.
        names: Of the layers.

    Raises:
        ValueError: Names the layer, why it cannot be stored, and what to do.
    """
    seen: set[str] = set()
    for name in names:
        problem = problem_of(name)
        if problem is None and name in seen:
            problem = "has the name of another one"
        if problem:
            raise UserError(f"{model}: its layer {_shown(name)} {problem}. {REMEDY}")
        seen.add(name)


def problem_of(name: str) -> str | None:
    """Why a name cannot be a group, in words that follow "its layer X"; None if it can."""
    if not isinstance(name, str) or not name:
        return "has no name"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "has a character in its name that cannot be printed"
    if "/" in name or "\\" in name:
        return "has a slash in its name, which would make a folder in a folder"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "has a name that is no Unicode"
    if size > LONGEST:
        return f"has a name of {size} bytes, and at most {LONGEST} make a folder"
    if not name.strip(". "):
        return "is named like a folder above it"
    if name in RESERVED or name.startswith("__"):
        return "has a name that means something else in a Zarr store"
    return None


def _shown(name) -> str:
    text = ascii(name)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(str(name))} characters)"
