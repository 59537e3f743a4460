"""Digests of values and of files."""

import hashlib
import json
from pathlib import Path


def digest_of(value) -> str:
    """Return a digest of a JSON-like value: 12 hexadecimal digits, independent of the key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def digest_of_files(store: Path, files: list[Path]) -> str:
    """Return the sha256 over names (relative to the store) and contents of files, in order."""
    total = hashlib.sha256()
    for path in files:
        total.update(str(path.relative_to(store)).encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a small file in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
