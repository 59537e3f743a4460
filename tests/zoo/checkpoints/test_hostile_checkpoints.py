"""Hostile and damaged checkpoints: nothing in a file ever runs or is taken on its word."""

import collections
import copyreg
import functools
import importlib
import io
import json
import operator
import os
import pickle
import random
import re
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import Clip, Persistent, text
from safetensors.torch import save_file
from torch import nn

from rosetta_steps.zoo.checkpoints.reading import read_checkpoint, read_tensors

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
MEGABYTES = 1 << 20


# Hostile files: nothing runs


class Call:
    """Pickled as the call of a function, with a state that is set afterwards."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


class New:
    """Pickled as an object made with keywords."""

    def __init__(self, keyword):
        self.keyword = keyword

    def __reduce_ex__(self, protocol):
        return copyreg.__newobj_ex__, (New, (1,), {"keyword": self.keyword})


def hostile_pickles(marker: Path, planted: str) -> dict[str, bytes]:
    """Pickles that would make a file, import a module or alter a function if they were run."""
    code, touch = f"open({str(marker)!r}, 'w')", f"touch {marker}"
    run = Call(exec, code)
    calls = {
        "os.system": Call(os.system, touch),
        "subprocess": Call(subprocess.check_call, ["touch", str(marker)]),
        "eval": Call(eval, code),
        "exec": run,
        "open": Call(open, str(marker), "w"),
        "import": Call(importlib.import_module, planted),
        "partial": Call(functools.partial, exec, code),
        "call of a partial": Call(map, Call(functools.partial, exec), [code]),
        "attribute": Call(operator.attrgetter("system"), Call(importlib.import_module, "os")),
        "reconstructor": Call(copyreg._reconstructor, Call, object, None, state={"a": run}),
        "state of a dictionary": Call(collections.OrderedDict, state=run),
        "state of a call": Call(exec, code, state=(None, {"__code__": run})),
        "keywords": New(run),
        "key": {Call(hash, code): run},
        "arguments of a tensor": Call(
            torch._utils._rebuild_tensor_v2, run, 0, (1,), (1,), False, {}
        ),
        "size of a tensor": Call(
            torch._utils._rebuild_tensor_v2, torch.ones(1)._typed_storage(), 0, run, (1,), False, {}
        ),
        "hooks of a parameter": Call(
            torch._utils._rebuild_parameter, torch.ones(1), True, {0: run}
        ),
        "storage": Call(torch.storage._load_from_bytes, run),
        "stream of a storage": Call(torch.storage._load_from_bytes, pickle.dumps(run)),
        "numpy array": Call(np.ndarray, (1,), state=(1, run, 2, 3, 4)),
    }
    pickles = {
        "INST": b"(S'" + touch.encode() + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + text(touch) + b"o.",
        "OBJ beside a tensor": b"\x80\x02}" + text("a") + b"(cos\nsystem\n" + text(touch) + b"os.",
        "name with dots": b"\x80\x04" + text("torch") + text("os.system") + b"\x93)R.",
        "import by name": f"c{planted}\nthing\n.".encode(),
        "import by class": f"\x80\x02c{planted}\nThing\n)\x81}}b.".encode("latin-1"),
        "EXT1": b"\x80\x02\x82\x01.",
        "dill function": b"\x80\x02cdill._dill\n_create_function\n(cdill._dill\n_create_code\n"
        b"(" + text(code) + b"tRtR)R.",
        "dill type": b"\x80\x02cdill._dill\n_load_type\n"
        + text("exec")
        + b"\x85R"
        + text(code)
        + b"\x85R.",
        "dill import": b"\x80\x02cdill._dill\n_import_module\n" + text(planted) + b"\x85R.",
        "state set on an allowed function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}"
        + text("__defaults__")
        + b"K\x01s\x86b.",
        "state set on an allowed class": b"\x80\x02ccollections\nOrderedDict\nN}"
        + text("__new__")
        + b"cos\nsystem\ns\x86b.",
        "persistent text": b"Pos.system\n.",
        "persistent call": b"\x80\x02cos\nsystem\n" + text(touch) + b"\x85RQ.",
    }
    for name, content in calls.items():
        for protocol in (2, 4):
            pickles[f"{name}, protocol {protocol}"] = pickle.dumps(content, protocol)
        pickles[f"{name} as network"] = pickle.dumps({"G_ema": content, "G": content})
        pickles[f"{name} beside a tensor"] = pickle.dumps({"a": torch.ones(1), "b": content})
    return pickles


MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
LEGACY = MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
NO_STORAGES = pickle.dumps([], 2)


def zip_of(pickled: bytes, *members: str) -> bytes:
    """An archive as torch.save makes them, around any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name in members:
            archive.writestr(f"archive/{name}", b"")
    return buffer.getvalue()


WRAPPED = {
    "plain": lambda pickled: pickled,
    "zip archive": zip_of,
    "TorchScript": lambda pickled: zip_of(pickled, "constants.pkl"),
    "legacy": lambda pickled: LEGACY + pickled + NO_STORAGES,
}
watched: list[str] | None = None


def watch(event: str, arguments: tuple) -> None:
    """Note what Python audits: what is run, imported, started or opened."""
    runs = event in ("exec", "compile", "import", "pickle.find_class", "os.system", "os.exec")
    if watched is not None and (runs or event.startswith(("subprocess", "open", "ctypes"))):
        watched.append(f"{event} {arguments}"[:200])


sys.addaudithook(watch)


def outcome(path: Path) -> str:
    """Read a file, and say how it ended: refused with a ValueError, or read as harmless data."""
    try:
        checkpoint = read_checkpoint(path)
    except ValueError as error:
        assert str(path) in str(error) and len(str(error)) < 2000
        return "refused"
    assert all(type(tensor) is torch.Tensor for tensor in checkpoint.tensors.values())
    json.dumps(checkpoint.settings)
    return "read"


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_nothing_in_a_hostile_file_is_run_imported_or_opened(wrapped, tmp_path, monkeypatch):
    global watched
    marker, planted = tmp_path / "marker", "planted_by_a_checkpoint"
    (tmp_path / f"{planted}.py").write_text(f"open({str(marker)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "hostile.pkl"
    path.write_bytes(WRAPPED[wrapped](pickle.dumps({})))
    outcome(path)  # the standard library imports codecs when it first meets a zip archive
    modules = set(sys.modules)
    ends = collections.Counter()
    good_tensors_beside = re.compile("beside a tensor|hooks of a parameter as network")
    for name, content in hostile_pickles(marker, planted).items():
        path.write_bytes(WRAPPED[wrapped](content))
        watched = []
        try:
            ends[end := outcome(path)] += 1
        finally:
            seen, watched = watched, None
        assert all(event.startswith("open") and str(path) in event for event in seen), (name, seen)
        assert end == "refused" or good_tensors_beside.search(name), name
        assert not marker.exists() and set(sys.modules) == modules, name
    assert ends["refused"] > 50


# Hostile files: nothing is allocated or walked beyond what a file holds


@pytest.fixture
def bounded_memory():
    """Let an allocation of more than 300 MB fail."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 300 * MEGABYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def storage_opcode(count: int, key: str = "0", kind: str = "FloatStorage") -> bytes:
    """Opcodes of a storage of torch that claims a number of elements."""
    number = b"\x8a\x08" + struct.pack("<q", count)
    identifier = text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    return b"(" + identifier + number + b"tQ"


def tensor_opcodes(storage: bytes, offset: int, size: tuple, stride: tuple) -> bytes:
    """Opcodes of a state dict with one tensor."""
    numbers = pickle.dumps((offset, size, stride), 2)[2:-1]
    numbers = numbers[: numbers.rindex(b"\x87")]  # the three alone, not the tuple of them
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + numbers + b"\x89}tR"
    return b"\x80\x02}" + text("a") + call + b"s."


def archive_of(pickled: bytes, storage: bytes = bytes(16)) -> bytes:
    """An archive of torch with one storage."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", storage)
    return buffer.getvalue()


def numpy_opcodes(shape: tuple, code: str, data: bytes) -> bytes:
    """A pickle of one numpy array that may claim another shape than it has bytes."""
    array = Call(
        np.zeros(0).__reduce__()[0],
        np.ndarray,
        (0,),
        b"b",
        state=(1, shape, np.dtype(code), False, data),
    )
    return pickle.dumps({"a": array})


HUGE, LARGE = struct.pack("<Q", 1 << 40), struct.pack("<I", (1 << 31) - 1)
ABSURD = {
    "BINBYTES8": b"\x80\x04\x8e" + HUGE + b"a.",
    "BINBYTES": b"\x80\x04B" + LARGE + b"a.",
    "BYTEARRAY8": b"\x80\x05\x96" + HUGE + b"a.",
    "BINUNICODE8": b"\x80\x04\x8d" + HUGE + b"a.",
    "BINUNICODE": b"\x80\x04X" + LARGE + b"a.",
    "BINSTRING": b"\x80\x02T" + LARGE + b"a.",
    "BINSTRING of less than nothing": b"\x80\x02T\xff\xff\xff\xffa.",
    "LONG4": b"\x80\x02\x8b" + LARGE + b"a.",
    "FRAME": b"\x80\x04\x95" + HUGE + b"N.",
    "LONG_BINPUT": b"\x80\x02Nr\xff\xff\xff\xff.",
    "LONG_BINGET": b"\x80\x02j\xff\xff\xff\xff.",
    "PUT": b"Np" + b"9" * 900 + b"\n.",
    "INT": b"I" + b"9" * 2 * MEGABYTES + b"\n.",
    "LONG": b"L" + b"9" * 2 * MEGABYTES + b"L\n.",
    "GLOBAL": b"c" + b"a" * 2 * MEGABYTES + b"\nb\n.",
    "name of a global": b"\x80\x04" + text("a" * MEGABYTES) + b"q\x000" + b"h\x00h\x00\x9300" * 900,
    "marks": b"\x80\x02" + b"(" * 100_000,
    "TUPLE3 of nothing": b"\x80\x02\x87.",
    "POP of nothing": b"0.",
    "numpy shape": numpy_opcodes((1 << 40,), "f4", bytes(16)),
    "numpy shape that overflows": numpy_opcodes((1 << 32, 1 << 32), "f4", bytes(16)),
    "negative numpy shape": numpy_opcodes((-2, -2), "f4", bytes(16)),
    "numpy shape of fractions": numpy_opcodes((2.0, 2), "f4", bytes(16)),
    "storage": archive_of(tensor_opcodes(storage_opcode(1 << 40), 0, (4,), (1,))),
    "storage of less than nothing": archive_of(tensor_opcodes(storage_opcode(-4), 0, (4,), (1,))),
    "storage a little too large": archive_of(tensor_opcodes(storage_opcode(5), 0, (5,), (1,))),
    "storage that is missing": archive_of(tensor_opcodes(storage_opcode(4, "1"), 0, (4,), (1,))),
    "storage of unknown type": archive_of(
        tensor_opcodes(storage_opcode(4, kind="EvilStorage"), 0, (4,), (1,))
    ),
    "size": archive_of(tensor_opcodes(storage_opcode(4), 0, (5,), (1,))),
    "size that overflows": archive_of(tensor_opcodes(storage_opcode(4), 0, (1 << 62, 4), (0, 0))),
    "size of less than nothing": archive_of(tensor_opcodes(storage_opcode(4), 0, (-1,), (1,))),
    "stride": archive_of(tensor_opcodes(storage_opcode(4), 0, (2, 2), (1 << 40, 1))),
    "negative stride": archive_of(tensor_opcodes(storage_opcode(4), 3, (4,), (-1,))),
    "stride of nothing": archive_of(tensor_opcodes(storage_opcode(4), 0, (1 << 30,), (0,))),
    "offset": archive_of(tensor_opcodes(storage_opcode(4), 1, (4,), (1,))),
    "empty of absurd size": archive_of(
        tensor_opcodes(storage_opcode(4), 0, (0, 1 << 40, 1 << 40), (1, 1, 1))
    ),
    "legacy storage": LEGACY
    + tensor_opcodes(storage_opcode(1 << 40)[:-2] + b"NtQ", 0, (4,), (1,))
    + pickle.dumps(["0"], 2)
    + struct.pack("<q", 1 << 40),
    "legacy storage with another count": LEGACY
    + tensor_opcodes(storage_opcode(4)[:-2] + b"NtQ", 0, (4,), (1,))
    + pickle.dumps(["0"], 2)
    + struct.pack("<q", 3)
    + bytes(16),
    "zip member": archive_of(tensor_opcodes(storage_opcode(4), 0, (4,), (1,))).replace(
        struct.pack("<II", 16, 16), struct.pack("<II", (1 << 31) - 1, (1 << 31) - 1)
    ),
    "objects of a numpy network": pickle.dumps(
        {"G_ema": Call(nn.Linear, state={"_modules": {}, "_buffers": {"a": np.array([{}])}})}
    ),
    "many views of one storage": archive_of(
        b"\x80\x02}("
        + b"".join(
            text(str(i))
            + tensor_opcodes(storage_opcode(MEGABYTES), i, (MEGABYTES - i,), (1,))[9:-2]
            for i in range(200)
        )
        + b"u.",
        bytes(4 * MEGABYTES),
    ),
    "safetensors header": struct.pack("<Q", 1 << 60) + b'{"a": 1}',
}


@pytest.mark.parametrize("name", ABSURD)
def test_a_file_that_claims_more_than_it_holds_is_refused_without_allocating_it(
    name, bounded_memory, tmp_path
):
    path = tmp_path / "absurd.pt"
    path.write_bytes(ABSURD[name])
    if name == "LONG_BINPUT":  # a large index is no large table here
        with pytest.raises(ValueError, match="where a state dict is expected"):
            read_checkpoint(path)
    assert outcome(path) == "refused"


def circles() -> dict:
    """Containers that hold themselves, or one another so often that no walk would end."""
    itself: list = []
    itself.append(itself)
    doubled: tuple = ()
    for _ in range(200):
        doubled = (doubled, doubled)
    return {"itself": itself, "doubled": doubled}


def module_in_circles() -> Persistent:
    """A module whose every level holds the next one twice."""
    whole = module = Persistent()
    for _ in range(40):
        module.a = module.b = Persistent()
        module = module.a
    module.register_buffer("c", torch.ones(1))
    return whole


def test_what_holds_itself_or_another_a_thousand_times_ends(
    tmp_path, written_as_persistent, bounded_memory
):
    path = tmp_path / "circles.pt"
    torch.save({"a": torch.ones(1)} | circles(), path)
    assert outcome(path) == "read"
    doubled = b"\x80\x02)" + b"q\x000h\x00h\x00\x86" * 100  # as the key of a dictionary
    for end in (b"q\x000}h\x00Ns.", b".", b"(h\x00tQ.", b"}h\x00K\x00sh\x00R."):
        path.write_bytes(doubled + end)
        assert outcome(path) == "refused"
    path.write_bytes(written_as_persistent({"G_ema": module_in_circles()}))
    with pytest.raises(ValueError, match="holds itself, or absurdly many"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x02)" + b"\x85" * 100_000 + b".",
        b"\x80\x02}" + b"K\x00}" * 70_000 + b"s" * 70_000 + b".",
        b"\x80\x02cevil\nNest\nq\x000)" + b"q\x010h\x00h\x01R\x85" * 100_000 + b".",
        b"\x80\x02cevil\nNest\n" + b")R" * 70_000 + b".",
        b"\x80\x04" + b"\x8f(" * 70_000 + b"\x90" * 69_999 + b".",
    ],
    ids=["lists", "tuples", "dictionaries", "calls", "calls of calls", "sets"],
)
def test_absurd_depth_is_no_way_out(pickled, bounded_memory, tmp_path):
    path = tmp_path / "deep.pkl"
    path.write_bytes(pickled)
    assert outcome(path) == "refused"


def test_absurd_numbers_of_opcodes_are_refused_however_they_are_nested(tmp_path, monkeypatch):
    monkeypatch.setattr("rosetta_steps.zoo.checkpoints.pickles.MOST_STEPS", 5_000)
    path = tmp_path / "many.pkl"
    path.write_bytes(b"\x80\x02" + b"N0" * 3_000 + b".")
    with pytest.raises(ValueError, match="more than 5000 opcodes"):
        read_checkpoint(path)
    stream = MAGIC[:-1] + b"0N" * 400 + b"."  # one text, a hundred times the stream of a storage
    load = b"ctorch.storage\n_load_from_bytes\nh\x00\x85R0"
    path.write_bytes(
        b"\x80\x04B" + struct.pack("<I", len(stream)) + stream + b"q\x000" + load * 100
    )
    with pytest.raises(ValueError, match="more than 5000 opcodes|no legacy stream"):
        read_checkpoint(path)
    pairs = b"\x80\x02](" + b"N" * 900 + b"eq\x000" + b"cbuiltins\nset\nh\x00\x85R0" * 100
    path.write_bytes(pairs)  # a long list, copied a hundred times
    with pytest.raises(ValueError, match="more than 5000 opcodes"):
        read_checkpoint(path)


# Damaged files


def whole_files(golden, persistent_pickle) -> dict[str, bytes]:
    """A good file of each container."""
    few = {key: golden[key] for key in list(golden)[:5]}
    zipped, legacy, scripted = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save(few, zipped)
    torch.save(few, legacy, _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(Clip()), scripted)
    return {
        "pickle": persistent_pickle,
        "zip": zipped.getvalue(),
        "legacy": legacy.getvalue(),
        "scripted": scripted.getvalue(),
    }


def test_a_truncated_file_of_any_kind_is_refused_by_name(golden, persistent_pickle, tmp_path):
    for name, content in whole_files(golden, persistent_pickle).items():
        path = tmp_path / f"{name}.pt"
        for kept in (0, 1, 5, 100, len(content) // 3, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:kept])
            with pytest.raises(ValueError, match=f"{name}.pt cannot be read"):
                read_tensors(path)
    with pytest.raises(ValueError, match="none.pt does not exist"):
        read_tensors(tmp_path / "none.pt")


def why_refused(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as error:
        read_tensors(path)
    return str(error.value)


def test_a_truncated_file_is_told_as_what_it_begins_and_where_it_ends(tmp_path):
    tensors = {"a": torch.ones(100, 100), "b": torch.ones(3)}
    written = {
        "a zip archive": lambda path: torch.save(tensors, path),
        "a pickle": lambda path: torch.save(tensors, path, _use_new_zipfile_serialization=False),
        "a safetensors file": lambda path: save_file(tensors, path),
    }
    path = tmp_path / "cut.bin"
    for kind, write in written.items():
        write(path)
        content = path.read_bytes()
        for kept in (60, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:kept])
            words = why_refused(path)
            assert f"has {kept} bytes and begins as {kind}, but" in words
            assert "truncated or damaged" in words and "would run code" not in words
    assert f"goes on to byte {len(content)} at least" in words


def test_an_empty_file_and_one_that_is_no_checkpoint_are_told_so(tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(b"")
    assert why_refused(path).endswith("it is empty (0 bytes). Fetch or copy it again.")
    for content in (b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1"):
        for name in ("network.pkl", "network.safetensors"):
            (tmp_path / name).write_bytes(content)
            words = why_refused(tmp_path / name)
            assert f"its {len(content)} bytes begin with {content[:9]!r}" in words
            assert "web page" in words and "would run code" not in words


def test_a_file_damaged_anywhere_is_refused_or_read_never_worse(
    golden, persistent_pickle, tmp_path, bounded_memory
):
    chance = random.Random(0)
    for name, content in whole_files(golden, persistent_pickle).items():
        path = tmp_path / f"{name}.pt"
        for _ in range(60):
            damaged = bytearray(content)
            for _ in range(chance.choice([1, 3, 30])):
                damaged[chance.randrange(len(content))] = chance.randrange(256)
            path.write_bytes(damaged)
            assert outcome(path) in ("refused", "read")
