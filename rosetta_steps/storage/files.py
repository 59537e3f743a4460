"""Files written whole or not at all, and errors of the disk in words."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rosetta_steps.errors import StoreError

FINISHED_WORK = "then run the same command again: finished work is kept."
# What to do about an error of the disk, by its number. The advice for one misleads for another.
REMEDIES = {
    errno.ENOSPC: "Its disk is full: make room (df -h {folder}), ",
    errno.EDQUOT: "Your quota there is used up: make room or ask for more (quota -s), ",
    errno.EFBIG: "It is larger than its file system or `ulimit -f` allows: raise that, ",
    errno.EACCES: "You may not write there: correct its permissions (ls -ld {folder}), ",
    errno.EPERM: "You may not write there: correct its permissions (ls -ld {folder}), ",
    errno.EROFS: "Its file system can only be read: write to another, ",
    errno.ENOENT: "A folder of its path is missing or was removed meanwhile: make it, ",
    errno.ENOTDIR: "A file stands where its path needs a folder: move that, ",
    errno.EISDIR: "A folder stands in its place: move that, ",
    errno.ENAMETOOLONG: "Its name is too long for the file system: choose shorter names, ",
    errno.EMFILE: "Too many files are open: raise `ulimit -n`, ",
    errno.EIO: "The disk itself reports a fault: look at it (dmesg), ",
    errno.ESTALE: "Its network file system lost it: mount that anew, ",
}


def remedy(error: Exception, path: Path) -> str:
    """What a user can do about an error of the disk, by its number; zarrs gives that as text."""
    number = getattr(error, "errno", None)
    if number is None and "(os error " in str(error):
        number = int(str(error).rpartition("(os error ")[2].partition(")")[0])
    return REMEDIES.get(number, "").format(folder=Path(path).parent) + FINISHED_WORK


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
def whole_file(path: Path) -> Iterator[Path]:
    """Somewhere to write a file, which is moved to its path if nothing fails, else removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
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
