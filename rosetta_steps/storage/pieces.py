"""Folders of finished pieces of an output, so that an interrupted job can resume."""

import json
import shutil
from pathlib import Path

from rosetta_steps.storage.files import explain_write_errors


def pieces_folder(output: Path, identity) -> Path:
    """Return the folder beside an output that holds its finished pieces, and create it if needed.

    Args:
        output: Path of the file or store that is put together from the pieces.
        identity: JSON-like value of everything that determines the pieces. Pieces with another
            identity are removed.

    Raises:
        StoreError: The disk is full.
    """
    folder = output.with_name(f".{output.name}.pieces")
    known, text = folder / "of.json", json.dumps(identity)
    if not known.is_file() or known.read_text() != text:
        shutil.rmtree(folder, ignore_errors=True)
        with explain_write_errors(known):
            folder.mkdir(parents=True)
            known.write_text(text)
    return folder
