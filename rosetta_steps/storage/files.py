"""Files that are written atomically, and file system errors explained to the user."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rosetta_steps.runtime.advice import NO_ROOM, remedy
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.leftovers import partial


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn errors of writing within the context into a StoreError with cause and remedy.

    Raises:
        StoreError: An OSError was raised, or the RuntimeError by which zarrs reports one.
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
def explain_full_disk(output: Path) -> Iterator[None]:
    """Turn errors of a full disk within the context into a StoreError; other errors pass unchanged.

    Raises:
        StoreError: The disk is full, the quota is used up, or the file is too large.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        with explain_write_errors(output):
            raise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; its file is moved to `path` on success and removed after an error."""
    temporary = partial(path)
    try:
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """Write a JSON file atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
