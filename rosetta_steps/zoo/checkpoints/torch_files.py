"""Reading of files of torch.save and torch.jit.save, and of pickles with storages, as data.

There are two formats. Since torch 1.6, a zip archive holds data.pkl and a file data/KEY for each
storage; TorchScript adds code and constants.pkl, which are not read. Legacy files before 1.6, and
each storage within a plain pickle, are a stream of pickles followed by the storages.
torch.load(weights_only=True) could read only the first format without TorchScript, and for a legacy
stream it allocates the claimed size of a storage without comparing it with the file.
"""

import struct
import zipfile
from pathlib import Path

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.pickles import (
    Budget,
    Global,
    TruncatedError,
    described,
    read_pickle,
)
from rosetta_steps.zoo.checkpoints.stand_ins import KNOWN, Storage

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
ZIP_ERRORS = (ValueError, RuntimeError, ArithmeticError, EOFError)
END_OF_ARCHIVE = b"PK\x05\x06"
LENGTH_OF_END = 22
LONGEST_END = LENGTH_OF_END + (1 << 16)  # bytes, including the longest comment
LOCAL_HEADER = 30  # bytes before the name of a member of a zip archive


class OtherFormatError(UserError):
    """A zip archive was not written by torch.save; the message says what it is and what to do."""


def read_archive(path: Path, data: memoryview, budget: Budget) -> tuple[object, bool]:
    """Read a zip archive of torch.

    Args:
        path: Path of the file.
        data: Bytes of the file.
        budget: Budget of the file.

    Returns:
        The object, and whether the archive is TorchScript.

    Raises:
        ValueError: The file is no such archive, or claims more than it holds.
    """
    end = bytes(data[-LONGEST_END:])
    if not 0 <= end.rfind(END_OF_ARCHIVE) <= len(end) - LENGTH_OF_END:
        raise TruncatedError("the table of contents that a zip archive ends with is missing")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
    except (zipfile.BadZipFile, struct.error, *ZIP_ERRORS) as error:
        raise UserError(f"as a zip archive it is damaged: {error}") from None
    if what := _other_format(members):
        raise OtherFormatError(what)
    roots = [name.removesuffix("data.pkl") for name in members if _is_top_pickle(name)]
    if len(roots) != 1:
        raise UserError(f"as a zip archive it has {len(roots)} data.pkl, where torch writes one")
    root = roots[0]
    if (order := members.get(f"{root}byteorder")) and bytes(_stored(data, order)) != b"little":
        raise UserError("it was written on a big-endian machine: save it on a usual one")
    storages: dict[str, Storage] = {}

    def persistent(identifier) -> Storage:
        match identifier:
            case ("storage", kind, str(key), _, count):
                if key not in storages:
                    member = members.get(f"{root}data/{key}")
                    if member is None:
                        raise UserError(f"its storage {key:.80} is missing")
                    storages[key] = Storage(kind, count, len(data))
                    storages[key].fill(_stored(data, member))
                return storages[key]
        raise UserError("it has a persistent identifier that torch does not write")

    content, _ = read_pickle(
        _stored(data, members[f"{root}data.pkl"]), 0, budget, known, persistent
    )
    return content, f"{root}constants.pkl" in members


def _other_format(members) -> str:
    """Describe an archive that torch.save did not write; empty if torch wrote it."""
    last = {name.split("/")[-1] for name in members}
    if "archive_format" in last or "serialized_exported_program.json" in last:
        return (
            "is a program that torch.export saved (.pt2), not a checkpoint: save the state dict of "
            "its module (torch.save(module.state_dict(), 'X.pt')), or export it to ONNX"
        )
    if members and all(name.endswith(".npy") for name in members):
        return "is an archive of numpy (.npz), not a checkpoint: save its arrays as safetensors"
    if "model.weights.h5" in last:
        return "is a file of Keras (.keras), not a checkpoint of torch"
    return ""


def _is_top_pickle(name: str) -> bool:
    return name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)


def _stored(data: memoryview, member: zipfile.ZipInfo) -> memoryview:
    """Return a view of the bytes of a member."""
    start = member.header_offset
    header = bytes(data[start : start + LOCAL_HEADER]) if start >= 0 else b""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise UserError("its members are compressed or encrypted, which torch does not write")
    if len(header) < LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise UserError("as a zip archive it is damaged: a member is not where it should be")
    start += LOCAL_HEADER + sum(struct.unpack("<HH", header[26:30]))
    if start + member.file_size > len(data):
        raise UserError("as a zip archive it is damaged: a member claims more than there is")
    return data[start : start + member.file_size]


def read_stream(data: memoryview, budget: Budget) -> tuple[object, bool]:
    """Read a file that begins with a pickle.

    Args:
        data: Bytes of the file.
        budget: Budget of the file.

    Returns:
        The object, and whether it is a legacy file of torch rather than a plain pickle.

    Raises:
        ValueError: The file is neither, or claims more than it holds.
    """
    content, position = read_pickle(data, 0, budget, known)
    if type(content) is int and content == LEGACY_MAGIC:
        return _legacy(data, position, budget), True
    return content, False


def _legacy(data: memoryview, position: int, budget: Budget):
    storages: dict[str, Storage] = {}

    def persistent(identifier):
        match identifier:
            case ("module", Global() as kind, *_):
                return kind
            case ("storage", kind, str(key), _, count, None):
                return storages.setdefault(key, Storage(kind, count, len(data)))
        raise UserError("it has a persistent identifier that is not read here")

    protocol, position = read_pickle(data, position, budget, known)
    system, position = read_pickle(data, position, budget, known)
    if protocol != LEGACY_PROTOCOL or type(system) is not dict or not system.get("little_endian"):
        raise UserError("it is of another legacy format of torch, or was written big-endian")
    content, position = read_pickle(data, position, budget, known, persistent)
    keys, position = read_pickle(data, position, budget, known)
    texts = type(keys) is list and all(type(key) is str for key in keys)
    if not texts or set(keys) != set(storages):
        raise UserError("it lists other storages than its tensors use")
    for key in keys:
        storage = storages[key]
        start = position + 8
        position = start + storage.bytes
        if position > len(data):
            raise TruncatedError(f"a storage ends at byte {position}")
        if int.from_bytes(data[start - 8 : start], "little") != storage.count:
            raise UserError("a storage holds another number of elements than is claimed")
        storage.fill(data[start:position])
    return content


def _storage_of_bytes(budget: Budget, stream) -> Storage:
    if not isinstance(stream, bytes | memoryview):
        raise UserError(f"it has a storage made of {described(stream)}")
    view = memoryview(stream)
    storage, legacy = read_stream(view, budget)
    if not legacy or type(storage) is not Storage:
        raise UserError("it has a storage that is no legacy stream of torch")
    return storage


known = KNOWN | {"torch.storage._load_from_bytes": _storage_of_bytes}
