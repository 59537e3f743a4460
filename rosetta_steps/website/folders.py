"""Folders of pages, written whole or not at all, that replace none but those of the same writer."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.files import explain_full_disk, replace_folder
from rosetta_steps.storage.leftovers import partial
from rosetta_steps.website.templates import TEMPLATES

MARK = "rosetta-site.txt"  # in a folder that may be replaced, and by what
WRITTEN = "Written by {}, and replaced by it.\n"


@contextmanager
def whole_folder(output: Path, writer: str, assets: Sequence[str]) -> Iterator[Path]:
    """Give a folder to build pages in, which takes its place when all are written.

    Args:
        output: Its place; a folder there that the same writer has written is replaced.
        writer: What writes it, as its file MARK names it.
        assets: Files beside the templates that the pages need.

    Raises:
        ValueError: There is something else in the place of the folder.
        StoreError: The disk is full.
    """
    refuse_other_folder(output, writer)
    building = partial(output)
    try:
        with explain_full_disk(output):
            building.mkdir(parents=True)
            yield building
            for name in assets:
                shutil.copyfile(TEMPLATES / name, building / name)
            (building / MARK).write_text(WRITTEN.format(writer), encoding="utf-8")
            replace_folder(building, output)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def folder_of(page: Path, writer: str) -> Path:
    """Folder of pages, given DIR/index.html, refused before any work where it cannot be written.

    Args:
        page: First of the pages.
        writer: What is to be written, as whole_folder takes it.

    Raises:
        ValueError: It is called otherwise, lies in no folder, or there is something else.
    """
    if page.name != "index.html" or not page.parent.name:
        raise UserError(f"{page} is no page of a folder of its own: give DIR/index.html.")
    refuse_other_folder(page.parent, writer)
    return page.parent


def refuse_other_folder(output: Path, writer: str) -> None:
    """Refuse to replace a folder that something else has written.

    Args:
        output: The folder.
        writer: What is to be written, as its file MARK names it.

    Raises:
        ValueError: It has files, and the one by which it is known is missing or names another.
    """
    if not output.is_dir() or not any(output.iterdir()):
        return
    mark = output / MARK
    if not mark.is_file():
        raise UserError(f"{output} is no folder of ours ({MARK} is missing): move it away.")
    if (said := mark.read_text(encoding="utf-8")) != WRITTEN.format(writer):
        raise UserError(f"{mark} says: {said.strip()[:100]} Give another folder, or move it away.")
