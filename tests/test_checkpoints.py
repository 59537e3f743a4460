"""Checkpoints read as data: every layout gives the same tensors, nothing in a file ever runs."""

import collections
import copyreg
import functools
import hashlib
import importlib
import io
import json
import math
import operator
import os
import pickle
import random
import re
import resource
import struct
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rosetta_steps.zoo.checkpoints.convert import convert
from rosetta_steps.zoo.checkpoints.reading import load_state, read_checkpoint, read_tensors
from rosetta_steps.zoo.generators.generator import Generator
from rosetta_steps.zoo.generators.generator import load as load_generator

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
GOLDEN = Path(__file__).parent / "data" / "golden" / "stylegan2.safetensors"
MEGABYTES = 1 << 20


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    """Tensors of a small StyleGAN2 in NVIDIA's PyTorch layout."""
    stored = load_file(GOLDEN)
    prefix = "weights/"
    return {key.removeprefix(prefix): stored[key] for key in stored if key.startswith(prefix)}


def assert_same(actual: dict, expected: dict) -> None:
    """The same names, types, shapes and values."""
    assert sorted(actual) == sorted(expected)
    for key, tensor in expected.items():
        assert actual[key].dtype == tensor.dtype and actual[key].is_contiguous()
        assert torch.equal(actual[key], tensor), key


# Files with the anatomy of the published ones


@pytest.fixture
def written_with(monkeypatch):
    """Let pickles name classes of modules that exist only while the file is written."""

    def written_with(name: str, attribute: str, value, content, protocol: int = 4) -> bytes:
        value.__module__, value.__qualname__ = name, attribute
        with monkeypatch.context() as patch:
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                module = types.ModuleType(".".join(parts[:depth]))
                patch.setitem(sys.modules, module.__name__, module)
            setattr(sys.modules[name], attribute, value)
            return pickle.dumps(content, protocol)

    return written_with


def _reconstruct_persistent_obj(meta):
    raise AssertionError("a module of a file was rebuilt")


class Persistent(nn.Module):
    """A module that is pickled as those of torch_utils.persistence are."""

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise AssertionError('source in a file was run')",
            "class_name": "Generator",
            "state": self.__dict__,
        }
        return _reconstruct_persistent_obj, (meta,)


def persistent_module(tensors: dict[str, torch.Tensor], **attributes) -> Persistent:
    """A tree of modules whose state dict is this."""
    whole = Persistent()
    for key, tensor in tensors.items():
        *path, name = key.split(".")
        module = whole
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, Persistent())
            module = getattr(module, part)
        if tensor.is_floating_point() and not name.endswith(("filter", "const", "avg")):
            module.register_parameter(name, nn.Parameter(tensor.clone()))
        else:
            module.register_buffer(name, tensor.clone())
    for name, value in attributes.items():
        setattr(whole, name, value)
    return whole


@pytest.fixture
def persistent_pickle(golden, written_with):
    """A pickle as StyleGAN2-ADA-PyTorch, StyleGAN3 and StyleGAN-XL write it."""
    average = persistent_module(
        golden,
        z_dim=16,
        layer_names=["L0_36_16"],
        gain=np.float32(0.5),
        _init_args=(16,),
        _init_kwargs={"img_resolution": 32, "mapping_kwargs": {"num_layers": 3}},
    )
    average.register_buffer("identity_filter", None)
    average.register_buffer("scratch", torch.ones(2), persistent=False)
    other = {key: tensor + 1 for key, tensor in golden.items()}
    content = {
        "G": persistent_module(other),
        "D": nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(0.2)),
        "G_ema": average,
        "augment_pipe": functools.partial(print, "never"),
        "training_set_kwargs": {"path": "somewhere"},
    }
    return written_with(
        "torch_utils.persistence",
        "_reconstruct_persistent_obj",
        _reconstruct_persistent_obj,
        content,
    )


class Network:
    """A network that is pickled as those of dnnlib.tflib are."""

    def __init__(self, **state):
        self.__dict__.update(state)


def tensorflow_network(golden: dict[str, torch.Tensor]) -> Network:
    """The golden network as TensorFlow stores it: other names, axes and offsets."""
    variables: dict[str, list] = {"mapping": [], "synthesis": [("lod", np.float32(0))], "": []}
    for key, tensor in golden.items():
        value = tensor.numpy()
        component, rest = key.split(".", 1)
        if key == "mapping.w_avg":
            variables[""].append(("dlatent_avg", value))
        elif component == "mapping":
            layer, name = rest.split(".")
            variables[component].append((f"Dense{layer[2:]}/{name}", value.T))
        elif key == "synthesis.b4.const":
            variables[component].append(("4x4/Const/const", value[None]))
        elif not key.endswith("resample_filter"):
            block, layer, name = rest.split(".", 2)
            rate = int(block[1:])
            upper = {"conv0": "Conv0_up", "conv1": "Conv1" if rate > 4 else "Conv"}
            scope = f"{rate}x{rate}/{upper.get(layer, 'ToRGB')}"
            if name == "noise_const":
                number = 2 * round(math.log2(rate)) - (5 if layer == "conv0" else 4)
                variables[component].append((f"noise{number}", value[None, None]))
            elif name == "weight":
                value = np.moveaxis(value, (0, 1), (3, 2))
                value = value[::-1, ::-1] if layer == "conv0" else value
                variables[component].append((f"{scope}/weight", value))
            elif name == "noise_strength":
                variables[component].append((f"{scope}/{name}", np.float32(value)))
            elif name == "affine.weight":
                variables[component].append((f"{scope}/mod_weight", value.T))
            elif name == "affine.bias":
                variables[component].append((f"{scope}/mod_bias", value - 1))
            else:
                variables[component].append((f"{scope}/{name}", value))
    components = {
        name: Network(
            version=4,
            name=name,
            static_kwargs={"fmap_base": 512},
            components={},
            build_module_src="raise AssertionError('source in a file was run')",
            build_func_name=f"G_{name}",
            variables=variables[name],
        )
        for name in ("synthesis", "mapping")
    }
    return Network(
        version=4,
        name="Gs",
        static_kwargs={"resolution": 32, "truncation_psi": 0.5},
        components=components,
        build_module_src="",
        build_func_name="G_main",
        variables=variables[""],
    )


def rosinality(golden: dict[str, torch.Tensor]) -> dict:
    """The golden network as rosinality's conversion stores it."""
    state = {}
    for key, tensor in golden.items():
        component, rest = key.split(".", 1)
        if component == "mapping":
            layer, _, name = rest.partition(".")
            if name:
                state[f"style.{int(layer[2:]) + 1}.{name}"] = tensor
            continue
        block, _, rest = rest.partition(".")
        level = round(math.log2(int(block[1:])))
        if rest == "const":
            state["input.input"] = tensor[None]
            continue
        if rest == "resample_filter":
            if level > 2:
                state[f"to_rgbs.{level - 3}.upsample.kernel"] = tensor * 4
            continue
        layer, name = rest.split(".", 1)
        n = 2 * level - (6 if layer == "conv0" else 5)
        scope = f"convs.{n}" if level > 2 else "conv1"
        if layer == "torgb":
            scope = f"to_rgbs.{level - 3}" if level > 2 else "to_rgb1"
        if name == "resample_filter":
            if layer == "conv0":
                state[f"{scope}.conv.blur.kernel"] = tensor * 4
        elif name == "noise_const":
            state[f"noises.noise_{n + 1}"] = tensor[None, None]
        elif name == "noise_strength":
            state[f"{scope}.noise.weight"] = tensor[None]
        elif name == "weight":
            state[f"{scope}.conv.weight"] = tensor[None]
        elif name == "bias":
            toward = f"{scope}.bias" if layer == "torgb" else f"{scope}.activate.bias"
            state[toward] = tensor.reshape(1, 3, 1, 1) if layer == "torgb" else tensor
        else:
            state[f"{scope}.conv.{name.replace('affine', 'modulation')}"] = tensor
    return {"g_ema": state, "latent_avg": golden["mapping.w_avg"]}


def test_a_persistent_pickle_gives_the_state_dict_of_its_averaged_generator(
    persistent_pickle, golden, tmp_path
):
    (tmp_path / "network.pkl").write_bytes(persistent_pickle)
    checkpoint = read_checkpoint(tmp_path / "network.pkl")
    assert_same(checkpoint.tensors, golden)
    assert checkpoint.layout == "persistent"
    settings = checkpoint.settings
    assert settings["class"] == "Generator" and settings["init_args"] == [16]
    assert settings["init_kwargs"]["mapping_kwargs"] == {"num_layers": 3}
    assert settings["attributes"][""] == {"z_dim": 16, "layer_names": ["L0_36_16"], "gain": 0.5}
    other = read_tensors(tmp_path / "network.pkl", "G")
    assert_same(other, {key: tensor + 1 for key, tensor in golden.items()})
    assert set(read_tensors(tmp_path / "network.pkl", "D")) == {"0.weight", "0.bias"}
    with pytest.raises(ValueError, match="holds no 'Gs' .*but: G, D, G_ema"):
        read_tensors(tmp_path / "network.pkl", "Gs")


def test_a_tensorflow_pickle_gives_the_tensors_in_nvidia_s_pytorch_layout(
    golden, written_with, tmp_path
):
    gs = tensorflow_network(golden)
    other = tensorflow_network({key: 2 * tensor for key, tensor in golden.items()})
    content = written_with("dnnlib.tflib.network", "Network", Network, (other, other, gs), 3)
    (tmp_path / "cat.pkl").write_bytes(content)
    checkpoint = read_checkpoint(tmp_path / "cat.pkl")
    assert_same(checkpoint.tensors, golden)
    assert checkpoint.layout == "tensorflow"
    assert checkpoint.settings["init_kwargs"] == {"resolution": 32, "truncation_psi": 0.5}
    assert checkpoint.settings["components"]["synthesis"]["class"] == "G_synthesis"
    assert checkpoint.settings["truncation_statistics"] is True
    first = read_tensors(tmp_path / "cat.pkl", "G")
    assert torch.equal(first["mapping.fc0.weight"], 2 * golden["mapping.fc0.weight"])


def test_arrays_that_python_2_wrote_as_text_are_read_too(tmp_path):
    values = np.arange(-3, 3, dtype=">f4").reshape(2, 3)
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4K\x00K\x01tR(K\x03X\x01\x00\x00\x00>NNNtb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    state = b"(K\x01(K\x02K\x03t" + dtype + b"\x89U\x18" + values.tobytes() + b"tb"
    (tmp_path / "old.pkl").write_bytes(b"\x80\x02}" + text("a") + array + state + b"s.")
    assert read_tensors(tmp_path / "old.pkl")["a"].tolist() == values.tolist()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_rosinality_file_gives_the_tensors_in_nvidia_s_pytorch_layout(golden, zipped, tmp_path):
    torch.save(rosinality(golden), tmp_path / "cat.pt", _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(tmp_path / "cat.pt")
    assert_same(checkpoint.tensors, golden)
    assert checkpoint.layout == "rosinality"
    assert checkpoint.settings == {"img_resolution": 32, "truncation_statistics": True}


def test_what_a_rosinality_file_may_lack_is_drawn_from_a_seed_or_left_out(golden, tmp_path):
    state = rosinality(golden)["g_ema"]
    torch.save({"g_ema": state}, tmp_path / "whole.pt")
    for key in [key for key in state if key.startswith("noises.")]:
        del state[key]
    torch.save({"g_ema": state}, tmp_path / "cat.pt")
    checkpoint, again = (read_checkpoint(tmp_path / "cat.pt") for _ in range(2))
    assert checkpoint.settings == {
        "img_resolution": 32,
        "truncation_statistics": False,
        "noise_seed": 0,
    }
    assert golden.keys() - checkpoint.tensors.keys() == {"mapping.w_avg"}
    for key, tensor in checkpoint.tensors.items():
        assert tensor.shape == golden[key].shape
        assert torch.equal(tensor, again.tensors[key])
    noise = checkpoint.tensors["synthesis.b32.conv1.noise_const"]
    assert abs(noise.mean()) < 0.1 and abs(noise.std() - 1) < 0.1
    assert "noise_seed" not in read_checkpoint(tmp_path / "whole.pt").settings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("convs.1.conv.weight"), "1 missing .first convs.1.conv.weight"),
        (lambda state: state.update({"convs.9.bias": torch.ones(1)}), "1 left over .*convs.9.bias"),
        (lambda state: state.update({"convs.0.conv.blur.kernel": torch.ones(4, 4)}), "filter"),
        (lambda state: state.update({"convs.0.noise.weight": torch.ones(4, 4)}), "shape"),
    ],
)
def test_a_stylegan2_of_another_architecture_is_refused_by_name(golden, change, words, tmp_path):
    content = rosinality(golden)
    change(content["g_ema"])
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=f"other.pt .*{words}"):
        read_checkpoint(tmp_path / "other.pt")


# Files of torch


def every_type() -> dict[str, torch.Tensor]:
    """Tensors of all the types and strides that state dicts have."""
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    floating = ["float16", "bfloat16", "float32", "float64", "complex64"]
    whole = ["uint8", "int8", "int16", "int32", "int64", "bool"]
    return {
        **{name: (10 * base).to(getattr(torch, name)) for name in floating + whole},
        "float8": base.to(torch.float8_e4m3fn),
        "uint16": base.abs().to(torch.uint16),
        "transposed": base.T,
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "part": base[1:3, 2:5],
        "tied": base,
        "tied too": base,
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 512),
        "expanded": torch.arange(5).expand(1, -1),
        "parameter": nn.Parameter(base + 1),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_is_read_as_torch_reads_it(zipped, tmp_path):
    path = tmp_path / "weights.pth"
    tensors = every_type()
    if not zipped:  # torch writes types without a storage class, but does not read them back
        del tensors["uint16"], tensors["float8"]
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    expected = torch.load(path, weights_only=True)
    actual = read_tensors(path)
    assert list(actual) == list(expected)
    for key, tensor in expected.items():
        assert actual[key].dtype == tensor.dtype and actual[key].shape == tensor.shape
        assert actual[key].tolist() == tensor.tolist()
    assert actual["tied"] is actual["tied too"]


def test_a_state_dict_one_level_down_is_named_and_then_read(tmp_path):
    path = tmp_path / "mae.pth"
    model = nn.Linear(2, 3).half()
    torch.save({"epoch": 3, "model": model.state_dict(), "args": {"lr": 0.1}}, path)
    with pytest.raises(ValueError, match=r"one level down.*weights.key.*: 'model'"):
        read_tensors(path)
    assert_same(read_tensors(path, "model"), model.state_dict())
    with pytest.raises(ValueError, match="holds no 'teacher'.*but: epoch, model, args"):
        read_tensors(path, "teacher")
    torch.save(model.state_dict() | {"epoch": 3}, path)
    assert read_checkpoint(path).settings == {"epoch": 3}


def test_tensors_beside_a_state_dict_are_not_taken_for_the_whole(tmp_path):
    path = tmp_path / "mae.pth"
    model = nn.Linear(2, 3)
    beside = {"rng_state": torch.ones(4), "mean": torch.ones(1)}
    torch.save(beside | {"model": model.state_dict()}, path)
    words = r"holds tensors \('rng_state', 'mean'\) beside parts with .*\('model'\).*weights.key"
    with pytest.raises(ValueError, match=words):
        read_tensors(path)
    with pytest.raises(ValueError, match=words):
        convert(path, tmp_path / "out" / "mae")
    assert not (tmp_path / "out").exists()
    checkpoint = read_checkpoint(path, "model")
    assert_same(checkpoint.tensors, model.state_dict())
    assert checkpoint.left_out == ["rng_state", "mean"]


def test_a_whole_pickled_module_gives_its_state_dict(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(4, 2)))
    torch.save(model, tmp_path / "whole.pth")
    tensors = read_tensors(tmp_path / "whole.pth")
    assert list(tensors) == list(model.state_dict())
    assert_same(tensors, model.state_dict())


class Clip(nn.Module):
    """Half-precision modules in modules, and a size among the buffers, as in OpenAI's archives."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Sequential(nn.Conv2d(3, 4, 1).half(), nn.BatchNorm2d(4))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.names = ["a", "b"]

    def forward(self, x):
        return self.visual[1](self.visual[0](x.half()).float())


def test_a_torchscript_archive_gives_its_tensors_without_its_code(tmp_path):
    model = Clip()
    torch.jit.script(model).save(tmp_path / "RN50.pt")
    checkpoint = read_checkpoint(tmp_path / "RN50.pt")
    expected = model.state_dict()
    del expected["input_resolution"]
    assert_same(checkpoint.tensors, expected)
    assert checkpoint.layout == "torchscript" and checkpoint.settings == {"input_resolution": 224}


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


def text(value: str) -> bytes:
    """Opcode of a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


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


def test_what_holds_itself_or_another_a_thousand_times_ends(tmp_path, written_with, bounded_memory):
    path = tmp_path / "circles.pt"
    torch.save({"a": torch.ones(1)} | circles(), path)
    assert outcome(path) == "read"
    doubled = b"\x80\x02)" + b"q\x000h\x00h\x00\x86" * 100  # as the key of a dictionary
    for end in (b"q\x000}h\x00Ns.", b".", b"(h\x00tQ.", b"}h\x00K\x00sh\x00R."):
        path.write_bytes(doubled + end)
        assert outcome(path) == "refused"
    content = {"G_ema": module_in_circles()}
    function = _reconstruct_persistent_obj
    path.write_bytes(written_with("torch_utils.persistence", function.__name__, function, content))
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


# Into a module


def test_weights_of_16_bits_are_returned_as_stored_and_cast_when_loaded(tmp_path):
    path, half = tmp_path / "half.pt", nn.Linear(2, 3).half()
    torch.save(half.state_dict(), path)
    tensors = read_tensors(path)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    single = nn.Linear(2, 3)
    load_state(single, tensors, "tiny")
    assert_same(single.state_dict(), {key: value.float() for key, value in tensors.items()})


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(4), "head": torch.ones(1)},
            r"^tiny: .*of 4 tensors, 2 missing \(first 1.weight, 1.bias\); 1 left over \(first "
            r"head\); 1 of other shape \(first 0.bias \(4,\) instead of \(3,\)\)\. .*resolution",
        ),
        ({"layers.0": torch.ones(1)}, "4 missing .first 0.weight, 0.bias, 1.weight.*no name in"),
        ({f"net.{i}.{n}": torch.ones(1) for i in "01" for n in ("weight", "bias")}, "'net.'"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_told_what_differs(tensors, words):
    with pytest.raises(ValueError, match=words):
        load_state(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), tensors, "tiny")


# Converted once


def test_a_converted_checkpoint_gives_the_same_tensors_and_settings(
    persistent_pickle, golden, tmp_path
):
    source = tmp_path / "network.pkl"
    source.write_bytes(persistent_pickle)
    made = convert(source, tmp_path / "new folder" / "cat-v1.2")
    assert made == tmp_path / "new folder" / "cat-v1.2.safetensors"
    converted, original = read_checkpoint(made), read_checkpoint(source)
    assert_same(converted.tensors, original.tensors)
    assert (converted.settings, converted.layout) == (original.settings, "persistent")
    said = json.loads(made.with_name("cat-v1.2.json").read_text())
    assert said["source_sha256"] == hashlib.sha256(persistent_pickle).hexdigest()
    assert said["tensors"] == len(golden) and said["source"] == "network.pkl"
    with pytest.raises(ValueError, match="cat-v1.2.json exists"):
        convert(source, made)
    convert(source, made, key="G", overwrite=True)
    assert torch.equal(read_tensors(made)["mapping.fc0.bias"], golden["mapping.fc0.bias"] + 1)
    save_file({"a": torch.ones(1)}, made)
    with pytest.raises(ValueError, match="describes .* tensors, the file holds 1"):
        read_checkpoint(made)


def test_a_conversion_says_what_it_wrote_and_what_it_left_out(persistent_pickle, tmp_path, capsys):
    source = tmp_path / "network.pkl"
    source.write_bytes(persistent_pickle)
    made = convert(source, tmp_path / "network")
    tensors = load_file(made)
    values = sum(tensor.numel() for tensor in tensors.values())
    told = capsys.readouterr()
    assert told.out == "" and told.err == (
        f"{len(tensors)} tensors written, {values} values. "
        "Left out: G, D, augment_pipe, training_set_kwargs.\n"
    )
    weights = {"w": torch.ones(2), "epoch": 3, "optimiser": {"state": [torch.ones(2)]}}
    torch.save(weights, tmp_path / "weights.pt")
    convert(tmp_path / "weights.pt", tmp_path / "weights")
    assert capsys.readouterr().err == "1 tensors written, 2 values. Left out: optimiser.\n"
    said = json.loads((tmp_path / "weights.json").read_text())
    assert (said["values"], said["left_out"], said["settings"]["epoch"]) == (2, ["optimiser"], 3)


def test_a_converted_checkpoint_keeps_the_order_of_its_tensors(tmp_path):
    tensors = {name: torch.full((2,), float(i)) for i, name in enumerate("zyxa")}
    torch.save(tensors, tmp_path / "weights.pt")
    made = convert(tmp_path / "weights.pt", tmp_path / "made")
    assert list(read_tensors(made)) == list("zyxa")
    save_file({name: tensors[name] for name in "zyx"} | {"b": torch.ones(1)}, made)
    with pytest.raises(ValueError, match="made.json names other tensors than the file"):
        read_tensors(made)


# Settings of a file against those of its entry


CLAMPED = {"resolution": 32, "latent": 16, "w": 16, "mapping_layers": 3}
CLAMPED |= {"channel_base": 512, "channel_max": 16}


@pytest.fixture
def clamped(golden, written_with, tmp_path):
    """Write a StyleGAN2 with a bound of its activations, which is an attribute of its layers."""

    def write(clamp: float | None, **keywords) -> Path:
        network = persistent_module(
            golden, z_dim=16, img_resolution=32, _init_args=(), _init_kwargs=keywords
        )
        for size in (4, 8, 16, 32):
            block = network.get_submodule(f"synthesis.b{size}")
            for layer in block.children():
                layer.conv_clamp = clamp
        function = _reconstruct_persistent_obj
        path = tmp_path / "network.pkl"
        content = {"G_ema": network}
        module = "torch_utils.persistence"
        path.write_bytes(written_with(module, function.__name__, function, content))
        return path

    return write


def generator_of(path: Path, **architecture) -> Generator:
    entry = {"loader": "stylegan2", "architecture": CLAMPED | architecture, "weights": {}}
    return load_generator("tiny", entry, path, "cpu")


@pytest.mark.parametrize("converted", [False, True])
def test_a_pickle_that_states_another_bound_than_its_entry_is_refused(clamped, converted, tmp_path):
    path = clamped(256)  # whose default it was in this release: no keyword says so
    if converted:
        path = convert(path, tmp_path / "converted")
    words = (
        rf"^tiny: {path} states .*conv_clamp 256 \(in synthesis.b\d+.conv\d\), its entry clamp: "
        r"null\. Write clamp: 256 into `architecture` of tiny in config/models.yaml\.$"
    )
    with pytest.raises(ValueError, match=words):
        generator_of(path)
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    assert generator_of(path, clamp=256).generate(z).shape == (2, 3, 32, 32)


def test_what_the_modules_state_counts_before_the_keywords(clamped):
    path = clamped(None, synthesis_kwargs={"conv_clamp": 256})
    generator_of(path)
    with pytest.raises(ValueError, match="conv_clamp null .*clamp: 256. Write clamp: null into"):
        generator_of(path, clamp=256)


def test_a_setting_that_the_tensors_show_too_is_named_with_them(clamped):
    with pytest.raises(
        ValueError, match=r"missing \(first synthesis.b64.*Write resolution: 32 into"
    ):
        generator_of(clamped(None), resolution=64)


def test_a_conversion_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    tied = torch.ones(2)
    torch.save({"a": tied, "b": tied}, tmp_path / "weights.pt")
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", Mock(side_effect=OSError("no space")))
        with pytest.raises(OSError, match="no space"):
            convert(tmp_path / "weights.pt", tmp_path / "out" / "made")
    assert list((tmp_path / "out").iterdir()) == []
    made = convert(tmp_path / "weights.pt", tmp_path / "out" / "made")
    assert_same(read_tensors(made), {"a": tied, "b": tied})
