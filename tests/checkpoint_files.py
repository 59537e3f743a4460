"""Checkpoint files with the anatomy of the published ones, and what to hold them against."""

import functools
import math
import pickle
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

GOLDEN = Path(__file__).parent / "data" / "golden" / "stylegan2.safetensors"


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


def text(value: str) -> bytes:
    """Opcode of a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


@pytest.fixture
def written_as_persistent(written_with):
    """Pickle what holds persistent modules."""
    function = _reconstruct_persistent_obj
    return functools.partial(written_with, "torch_utils.persistence", function.__name__, function)


@pytest.fixture
def persistent_pickle(golden, written_as_persistent):
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
    return written_as_persistent(content)


class Network:
    """A network that is pickled as those of dnnlib.tflib are."""

    def __init__(self, **state):
        self.__dict__.update(state)


def tensorflow_network(golden: dict[str, torch.Tensor]) -> Network:
    """A StyleGAN2 as TensorFlow stores it: other names, axes and offsets."""
    resolution = max(int(key.split(".")[1][1:]) for key in golden if key.startswith("synthesis.b"))
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
        static_kwargs={"resolution": resolution, "truncation_psi": 0.5},
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


class Clip(nn.Module):
    """Half-precision modules in modules, and a size among the buffers, as in OpenAI's archives."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Sequential(nn.Conv2d(3, 4, 1).half(), nn.BatchNorm2d(4))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.names = ["a", "b"]

    def forward(self, x):
        return self.visual[1](self.visual[0](x.half()).float())
