"""Files written whole or not at all, and errors of the disk in words."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rosetta_steps.runtime.advice import NO_ROOM, remedy
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.leftovers import partial


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name what cannot be written, the cause and its remedy.

    Raises:
        StoreError: In place of the OSError of a disk, which is a RuntimeError from zarrs.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "(os error" not in str(error):
            raise
        advice = remedy(error, path)
        advice = advice[0].upper() + advice[1:]
        raise StoreError(f"{path} cannot be written: {error}. {advice}") from error


@contextmanager
def room_for(output: Path) -> Iterator[None]:
    """Name what a full disk does not hold, and the remedy; other errors pass.

    Raises:
        StoreError: In place of the OSError of a full disk or quota.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        with writing(output):
            raise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Somewhere to write a file, which is moved to its path if nothing fails, else removed."""
    temporary = partial(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """Write a JSON file whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
