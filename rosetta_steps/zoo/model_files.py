"""All files of a model: the one its entry names, and those that this one or the entry refers to.

Torch's exporter writes the weights of an ONNX file into a second one, large checkpoints lie in
shards with an index, a converted checkpoint has settings beside it, and a function may read files
of its own. A model follows from all of them.

Imported while the workflow is parsed, so nothing heavy is imported before it is needed.
"""

import hashlib
import json
import mmap
import os
from pathlib import Path

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entry import Entry

# Of JSON beside a converted checkpoint (zoo.checkpoints.reading).
CONVERTED = b'"rosetta_steps checkpoint"'
LARGEST_INDEX = 1 << 28  # bytes of JSON

# Digests and companions of files as they were: by path, size, time and place on the disk.
_seen: dict[tuple, str] = {}
_named: dict[tuple, list[str]] = {}


def files_of(entry: Entry, path: Path) -> list[Path]:
    """The files a model follows from, its main file first, the others by name.

    Args:
        entry: Of the model; `weights.files` names further files.
        path: Its main file.

    Returns:
        Paths; of a function that loads its weights itself those that its entry names, maybe none.

    Raises:
        ValueError: One of them is missing, is no regular file, or lies outside the folder of the
            file that refers to it.
    """
    main = [] if entry.weights.function else [Path(path)]
    names = companions_of(path, entry.loader) if main else []
    companions = [Path(path).parent / name for name in names]
    declared = [Path(name).expanduser() for name in entry.weights.files]
    for file in companions:
        if not file.is_file():
            raise UserError(
                f"{path} keeps a part of the model in {file.name}, and {_what_lies_at(file)}. Copy "
                "it there from where the model came from."
            )
    for file in declared:
        if not file.is_file():
            raise UserError(
                f"weights.files of its entry names {file}, and {_what_lies_at(file)}. Put it "
                "there, or correct the entry."
            )
    return [*main, *companions, *dict.fromkeys(declared)]


def companions_of(path: Path, loader: str | None = None) -> list[str]:
    """Names of the files that a file of weights refers to, relative to its folder.

    Those of an ONNX file are the external data of its tensors, wherever in it they are; those of
    an index its shards; that of a converted checkpoint the JSON of its settings. Whether they are
    there is not looked at, and a file that cannot be read refers to none: its reader says so.

    Args:
        path: Of the file.
        loader: Of its entry: that of ONNX reads files of any name.

    Raises:
        ValueError: It refers to a file outside its folder.
    """
    path = Path(path)
    if not path.is_file():
        return []
    seen = _stamp(path)
    if seen not in _named or path.suffix == ".safetensors":  # its JSON may come or go
        _named[seen] = sorted({Path(name).as_posix() for name in _companions(path, loader)})
    for name in _named[seen]:
        if os.path.isabs(name) or ".." in Path(name).parts or name == ".":
            raise UserError(
                f"{path} refers to the file '{name}', which is not in its own folder, so it is "
                "not opened. Export it again with its data beside it."
            )
    return list(_named[seen])


def digest(files: list[Path]) -> str:
    """The sha256 of a file; of several, one that changes with each of them and with their order.

    Args:
        files: At least one; the names of the second and later ones count as well.

    Returns:
        64 hexadecimal digits.
    """
    first, *others = files
    if not others:
        return sha256(first)
    lines = [sha256(first), *(f"{sha256(one)}  {one.name}" for one in others)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def known_digest(files: list[Path]) -> str:
    """As digest, where every file is read once in a process, as long as size and time are the same.

    For what is asked often and holds nothing: weights are read again before they are loaded.
    """
    key = tuple(map(_stamp, files))
    if key not in _seen:
        _seen[key] = digest(files)
    return _seen[key]


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> tuple:
    found = path.stat()
    times = found.st_mtime_ns, found.st_ctime_ns  # the second cannot be set
    return (str(path.absolute()), found.st_size, *times, found.st_ino)


def _what_lies_at(file: Path) -> str:
    if os.path.lexists(file):
        return f"what lies at {file} is no regular file (a folder, a pipe, a broken link)"
    return f"there is no file {file}"


def _companions(path: Path, loader: str | None) -> list[str]:
    if path.name.endswith(".index.json"):
        return _shards(path)
    if path.suffix == ".safetensors":
        beside = path.with_suffix(".json")
        if beside.is_file() and beside.stat().st_size < LARGEST_INDEX:
            return [beside.name] if CONVERTED in beside.read_bytes() else []
        return []
    if (loader != "onnx" and path.suffix != ".onnx") or path.stat().st_size == 0:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # The key under which an ONNX tensor says where its data lies: without it, there is none,
        # and nothing need be parsed.
        if content.find(b"location") < 0:
            return []
    return _external_data(path)


def _shards(path: Path) -> list[str]:
    if path.stat().st_size > LARGEST_INDEX:
        return []
    try:
        shards = json.loads(path.read_bytes())["weight_map"].values()
        return [str(name) for name in shards]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _external_data(path: Path) -> list[str]:
    import onnx  # half a second, which other files need not wait for

    try:
        model = onnx.load(path, load_external_data=False)
        return [
            one.value
            for tensor in tensors_in(model)
            if tensor.data_location == onnx.TensorProto.EXTERNAL
            for one in tensor.external_data
            if one.key == "location"
        ]
    except Exception:  # protobuf's own types
        return []


def tensors_in(message):
    """All tensors in a message of ONNX: of graphs, nodes and functions, whatever their level."""
    waiting = [message]
    while waiting:
        one = waiting.pop()
        if one.DESCRIPTOR.name == "TensorProto":
            yield one
            continue
        for field, value in one.ListFields():
            if field.message_type is not None:
                repeated = not hasattr(value, "DESCRIPTOR")
                waiting += list(value) if repeated else [value]
