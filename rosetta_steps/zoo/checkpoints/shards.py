"""Indexes of sharded checkpoints: X.safetensors.index.json and pytorch_model.bin.index.json.

An index names the file of each tensor. Indexes are not trusted: files outside their folder are
never opened.
"""

import json
import re
from pathlib import Path

from rosetta_steps.runtime.errors import UserError

INDEX = ".index.json"
LONGEST_INDEX = 1 << 27  # bytes
MOST_SHARDS = 10_000
SHARD = re.compile(r"(.+)-(\d{2,})-of-(\d{2,})(\.\w+)?$")


def read_index(path: Path) -> dict[str, str]:
    """Read an index, which maps names of tensors to files.

    Args:
        path: Path of the index.

    Returns:
        The weight map; every value is the name of a file in the folder of the index.

    Raises:
        ValueError: The file is no index, names a tensor twice, or names a file outside its folder.
    """
    if path.stat().st_size > LONGEST_INDEX:
        raise UserError(f"{path} has more than {LONGEST_INDEX} bytes, as no index of shards does.")
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_unique)
    except _TwiceError as error:
        raise UserError(f"{path} names {error} twice, so it is damaged. Copy it again.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON that can be read ({error}). Copy it again.") from None
    found = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(found, dict) or not found:
        raise UserError(
            f"{path} is JSON without a weight_map, so it is no index of shards, and no checkpoint. "
            "Give the checkpoint itself."
        )
    for name, shard in found.items():
        if not isinstance(shard, str) or not _lies_beside(shard):
            raise UserError(
                f"{path} has its tensor {name:.120} in {str(shard)!r:.200}, which is no file of "
                "its own folder, so it is not opened."
            )
    if len(set(found.values())) > MOST_SHARDS:
        raise UserError(f"{path} names more than {MOST_SHARDS} shards, as no index does.")
    return found


def shard_of(path: Path) -> str:
    """Return advice on a file whose name is that of a shard; empty for any other file."""
    match = SHARD.fullmatch(path.name)
    if match is None or int(match[3]) < 2:
        return ""
    stem, number, count, suffix = match.groups()
    index = path.with_name(f"{stem}{suffix or ''}{INDEX}")
    there = "which lies beside it" if index.is_file() else "which belongs beside all its shards"
    return (
        f"{path.name} is one shard of a checkpoint in several files ({int(number)} of "
        f"{int(count)}): give the index, {index.name}, {there}"
    )


class _TwiceError(UserError):
    """A mapping has the same key twice."""


def _unique(pairs: list[tuple]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(f"'{name:.120}'" for name in names if names.count(name) > 1))
    return found


def _lies_beside(name: str) -> bool:
    plain = name not in ("", ".", "..") and not set(name) & set("/\\\0")
    return plain and len(name) < 256 and not name.endswith(".json")
