"""Files that are written atomically, and file system errors explained to the user."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def replace_folder(new: Path, output: Path) -> None:
    """Put a folder in the place of another, which goes only once the new one is there.

    Args:
        new: Folder beside the output.
        output: Folder to replace; it need not exist.
    """
    old = partial(output.with_name(f"{output.name}.old"))
    if output.exists():
        output.rename(old)
    new.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def files_under(folder: Path) -> list[str]:
    """Return every file in a folder and below, sorted as paths are, relative to the folder.

    A store of a hundred layers has thousands of files, on which pathlib spends most of its opening.

    Args:
        folder: A folder. Links to other folders are not followed.

    Returns:
        Relative paths with forward slashes; none if the folder does not exist.
    """
    found: list[tuple[str, ...]] = []
    left: list[tuple[str, ...]] = [()]
    while left:
        inside = left.pop()
        with suppress(FileNotFoundError), os.scandir(os.path.join(folder, *inside)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append((*inside, entry.name))
                elif entry.is_file():
                    found.append((*inside, entry.name))
    return ["/".join(parts) for parts in sorted(found)]


def is_hidden(file: str) -> bool:
    """Whether a file's own name begins with a dot: systems leave such files, no step does."""
    return file.rpartition("/")[2].startswith(".")


def write_json(path: Path, value) -> None:
    """Write a JSON file atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
