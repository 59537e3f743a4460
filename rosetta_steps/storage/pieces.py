"""Finished pieces of an output, which the same job may find again."""

import json
import shutil
from pathlib import Path

from rosetta_steps.storage.files import writing


def pieces_folder(output: Path, identity) -> Path:
    """A folder beside an output for its finished pieces, which a job that is run again finds there.

    Args:
        output: The file or store that is put together from the pieces.
        identity: What the pieces follow from, JSON-like. Pieces with another identity are removed.

    Raises:
        StoreError: The disk is full.
    """
    folder = output.with_name(f".{output.name}.pieces")
    known, text = folder / "of.json", json.dumps(identity)
    if not known.is_file() or known.read_text() != text:
        shutil.rmtree(folder, ignore_errors=True)
        with writing(known):
            folder.mkdir(parents=True)
            known.write_text(text)
    return folder
