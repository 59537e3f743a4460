"""Checkpoints as trainers save them: prefixes, leftovers, shards, and what is said of others."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from checkpoint_files import golden, rosinality  # noqa: F401
from safetensors.torch import save_file
from torch import nn

from rosetta_steps.zoo.checkpoints.advice import patterns_of
from rosetta_steps.zoo.checkpoints.convert import convert
from rosetta_steps.zoo.checkpoints.reading import load_state, read_checkpoint, read_tensors
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.generators.dcgan import DCGAN
from rosetta_steps.zoo.loading import load

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")


def network(seed: int = 0) -> nn.Module:
    """A tiny network with BatchNorm, and statistics that are not those of a new one."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Linear(4, 2))
    module[1].running_mean.normal_()
    return module.eval()


def behind(prefix: str, tensors: dict) -> dict:
    return {prefix + key: tensor for key, tensor in tensors.items()}


def loaded(path: Path, **source) -> dict:
    """State dict of the tiny network, loaded from a file as an entry says."""
    module = network(1)
    weights = Weights.from_mapping(source)
    checkpoint = read_checkpoint(path, weights.key, weights.prefix, weights.ignore)
    load_state(module, checkpoint.tensors, "tiny", path=path, source=weights)
    return module.state_dict()


def refusal(path: Path, **source) -> str:
    with pytest.raises(ValueError, match=".") as caught:
        loaded(path, **source)
    return str(caught.value)


# As trainers write it: content, and the key, if any, and the prefix to write.
HEAD = {"head.mlp.0.weight": torch.ones(4, 4)}
SAVED = {
    "DataParallel": (lambda s: behind("module.", s), None, "module."),
    "compiled": (lambda s: behind("_orig_mod.", s), None, "_orig_mod."),
    "both": (lambda s: behind("_orig_mod.module.", s), None, "_orig_mod.module."),
    "averaged": (
        lambda s: behind("module.", s) | {"n_averaged": torch.tensor(5)},
        None,
        "module.",
    ),
    "Lightning": (
        lambda s: {
            "state_dict": behind("model.", s) | {"criterion.weight": torch.ones(9)},
            "epoch": 1,
        },
        "state_dict",
        "model.",
    ),
    "DINO": (
        lambda s: {"teacher": behind("backbone.", s) | HEAD, "student": behind("module.", s)},
        "teacher",
        "backbone.",
    ),
    "deeper": (lambda s: {"run": {"model": behind("net.", s)}}, "run.model", "net."),
}


@pytest.mark.parametrize(("content", "key", "prefix"), SAVED.values(), ids=SAVED)
def test_a_prefix_is_named_whatever_lies_beside_it_and_then_taken_off(
    content, key, prefix, tmp_path
):
    state = network().state_dict()
    torch.save(content(state), path := tmp_path / "saved.pth")
    part = {} if key is None else {"key": key}
    line = f'write prefix: "{prefix}" into `weights` of tiny in config/models.yaml.'
    assert refusal(path, **part).endswith(line)
    torch.testing.assert_close(loaded(path, prefix=prefix, **part), state, rtol=0, atol=0)
    made = convert(path, tmp_path / "made", key, prefix=prefix)
    torch.testing.assert_close(loaded(made), state, rtol=0, atol=0)
    said = json.loads(made.with_suffix(".json").read_text())
    beside = set(content(state)) - {f"{prefix}{name}" for name in state}
    assert beside - {"teacher", "state_dict", "run"} <= set(said["left_out"]) | {"epoch"}


def test_a_prefix_that_no_name_has_or_that_is_half_of_it_is_refused_with_the_right_one(tmp_path):
    torch.save(behind("module.", network().state_dict()), path := tmp_path / "ddp.pth")
    assert "no name in it begins with 'model.' (weights.prefix" in refusal(path, prefix="model.")
    assert 'write prefix: "module." into' in refusal(path, prefix="module")
    torch.save(network().state_dict(), path)
    words = "no name in it begins with 'module.' .*, but there are: '0.weight', '0.bias'"
    assert re.search(words, refusal(path, prefix="module."))


def test_two_networks_under_two_prefixes_are_both_named(tmp_path):
    state = network().state_dict()
    torch.save(behind("student.", state) | behind("teacher.", state), path := tmp_path / "both.pth")
    said = refusal(path)
    assert 'prefix: "student."' in said and "behind 'teacher.' too: choose" in said
    torch.save(behind("ema.", state) | state, path)
    said = refusal(path)
    assert 'write ignore: ["ema.*"]' in said and "behind 'ema.' too: choose" in said


@pytest.mark.parametrize("kind", ["safetensors", "torchscript", "module"])
def test_a_prefix_is_taken_off_in_every_kind_of_file(kind, tmp_path):
    whole = nn.Module()
    whole.module, whole.other = network(), nn.Linear(2, 2)
    path = tmp_path / "whole.safetensors"
    if kind == "safetensors":
        save_file(whole.state_dict(), path)
    elif kind == "module":
        torch.save(whole, path := tmp_path / "whole.pt")
    else:
        whole.forward = None
        parallel = nn.Sequential()
        parallel.add_module("module", network())
        torch.jit.script(parallel).save(path := tmp_path / "whole.pt")
    expected = network().state_dict()
    torch.testing.assert_close(loaded(path, prefix="module."), expected, rtol=0, atol=0)


def test_the_names_of_rosinality_are_known_behind_a_prefix(golden, tmp_path):  # noqa: F811
    content = rosinality(golden)
    content["g_ema"] = behind("module.", content["g_ema"])
    torch.save(content, path := tmp_path / "cat.pt")
    with pytest.raises(ValueError, match='rosinality.*write prefix: "module."'):
        read_checkpoint(path)
    checkpoint = read_checkpoint(path, prefix="module.")
    assert checkpoint.layout == "rosinality" and checkpoint.tensors.keys() == golden.keys()


def entry_of(loader: str, architecture, path: Path, **source) -> Entry:
    role = "generator" if loader == "dcgan" else "model"
    sizes = {"size": [8, 8], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    entry = {"role": role, "loader": loader, "architecture": architecture}
    entry |= {"weights": {"path": str(path), **source}}
    return Entry.from_mapping(entry | ({"preprocessing": sizes} if loader == "function" else {}))


def of_timm():
    torch.manual_seed(0)
    return timm.create_model("test_resnet"), "test_resnet"


def of_dcgan():
    torch.manual_seed(0)
    architecture = {"latent": 5, "channels": [4, 3]}
    return DCGAN(**architecture), architecture


@pytest.mark.parametrize(("loader", "made"), [("timm", of_timm), ("dcgan", of_dcgan)])
def test_every_loader_takes_prefix_and_ignore_and_does_without_counters(loader, made, tmp_path):
    module, architecture = made()
    state = module.state_dict()
    stored = {key: tensor for key, tensor in state.items() if "num_batches" not in key}
    assert len(stored) < len(state)
    beside = {"module.decoder_a.weight": torch.ones(1), "criterion": torch.ones(1)}
    torch.save(behind("module.", stored) | beside, path := tmp_path / "saved.pth")
    with pytest.raises(ValueError, match=r'prefix: "module." and ignore: \["decoder_a.\*"\] into'):
        load("tiny", entry_of(loader, architecture, path), path)
    entry = entry_of(loader, architecture, path, prefix="module.", ignore=["decoder_*"])
    model = load("tiny", entry, path)
    ours = (getattr(model, "network", None) or model.module).state_dict()
    torch.testing.assert_close(ours, state, rtol=0, atol=0)


def test_names_in_another_order_than_by_name_may_lack_the_counters_too(tmp_path):
    module, architecture = of_timm()
    stored = [t for key, t in module.state_dict().items() if "num_batches" not in key]
    torch.save({f"layer{i}": t for i, t in enumerate(stored)}, path := tmp_path / "old.pth")
    entry = replace(entry_of("timm", architecture, path), keys="by_order")
    ours = load("tiny", entry, path).module.state_dict()
    torch.testing.assert_close(ours, module.state_dict(), rtol=0, atol=0)
    torch.save({f"layer{i}": t for i, t in enumerate(stored[1:])}, path)
    with pytest.raises(ValueError, match=r"has 76 tensors, the architecture 92 \(77 without num_b"):
        load("tiny", entry, path)


class Counting(nn.Module):
    """A module of somebody's own with a buffer of that name, which it reads."""

    def __init__(self):
        super().__init__()
        self.register_buffer("num_batches_tracked", torch.tensor(3.0))


def test_only_the_counters_of_torch_s_own_normalisations_may_be_missing():
    module = nn.Sequential(nn.BatchNorm1d(2), Counting())
    state = module.state_dict()
    del state["0.num_batches_tracked"]
    load_state(module, state, "tiny")
    del state["1.num_batches_tracked"]
    with pytest.raises(ValueError, match="1 missing .first 1.num_batches_tracked"):
        load_state(module, state, "tiny")


# Leftovers


def test_patterns_to_ignore_match_what_is_left_over_and_nothing_that_is_needed():
    left = ["mask_token", "decoder_pos_embed", "decoder_blocks.0.weight", "head.bias"]
    assert patterns_of(left, {"blocks.0.weight": ()}) == ["mask_token", "decoder_*", "head.*"]
    own = {"decoder_norm.weight": (), "head.weight": ()}
    assert patterns_of(left, own) == [
        "mask_token",
        "decoder_pos_embed",
        "decoder_blocks.*",
        "head.bias",
    ]
    assert patterns_of(["a.num_batches_tracked"], {}) == ["*.num_batches_tracked"]


def test_a_pattern_to_ignore_that_matches_nothing_or_too_much_is_refused(tmp_path):
    torch.save(network().state_dict() | HEAD, path := tmp_path / "saved.pth")
    assert 'write ignore: ["head.*"] into its `weights`' in refusal(path)
    assert "'haed.*', which matches none of its names" in refusal(path, ignore=["haed.*"])
    assert "leaves out what the architecture needs" in refusal(path, ignore=["head.*", "0.*"])
    loaded(path, ignore=["head.*"])


# What is said of the others


def test_nothing_is_called_another_architecture_that_is_not(tmp_path):
    state, path = network().state_dict(), tmp_path / "saved.pth"

    def said_of(content: dict, **source) -> str:
        torch.save(content, path)
        return refusal(path, **source)

    without = {key: tensor for key, tensor in state.items() if not key.startswith("3.")}
    said = said_of(without)
    assert "lacks 3.*, and nothing is left at random" in said and "another arch" not in said
    assert "Shapes differ: it is a checkpoint of another arch" in said_of(
        state | {"3.weight": torch.ones(10, 4), "3.bias": torch.ones(10)}
    )
    renamed = {f"part{i}": tensor for i, tensor in enumerate(state.values())}
    assert "write keys: by_order into the entry tiny" in said_of(renamed)
    hugging = {"vit.encoder.layer.0.output.dense.weight": torch.ones(2)}
    assert "layout of Hugging Face's transformers" in said_of(hugging)
    assert "no name in common: it is a checkpoint of another" in said_of({"x": torch.ones(7)})
    head = nn.Sequential()
    head.add_module("visual", network())
    with pytest.raises(ValueError, match="names begin with 'visual.', those of the file do not"):
        load_state(head, state, "tiny", path=path, source=Weights())
    with pytest.raises(ValueError, match='Write prefix: "module." in `weights` of tiny'):
        load_state(head, state, "tiny", path=path, source=Weights(prefix="module.visual."))


def test_a_classifier_that_was_not_saved_is_told_from_another_architecture(tmp_path):
    module, architecture = of_timm()
    stored = {k: t for k, t in module.state_dict().items() if not k.startswith("fc.")}
    torch.save(stored, path := tmp_path / "backbone.pth")
    with pytest.raises(ValueError, match=r"lacks fc\.\*.*arguments: {num_classes: 0}"):
        load("tiny", entry_of("timm", architecture, path), path)
    entry = entry_of("timm", {"name": architecture, "arguments": {"num_classes": 0}}, path)
    load("tiny", entry, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("key", ["0.weight", "1.running_mean"])
def test_weights_that_are_no_finite_numbers_are_refused_with_the_name(value, key, tmp_path):
    state = {name: t.double() if t.is_floating_point() else t for name, t in
             network().state_dict().items()}  # fmt: skip
    state[key].view(-1)[1] = value
    torch.save(state, path := tmp_path / "diverged.pth")
    words = f"^tiny: {path} holds NaN or infinity in {key} .1 of .* values, as float32"
    assert re.match(words, refusal(path))


def test_a_mask_in_a_buffer_may_be_minus_infinity_but_not_nan():
    module = nn.Linear(2, 2)
    module.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    load_state(module, module.state_dict(), "tiny")
    with pytest.raises(ValueError, match="holds NaN or infinity in mask"):
        load_state(module, module.state_dict() | {"mask": torch.full((2,), torch.nan)}, "tiny")


# Shards


def sharded(folder: Path, suffix: str = ".safetensors", **changes) -> Path:
    """A checkpoint in two shards and its index, of which something is changed."""
    state = network().state_dict()
    names = sorted(state)
    stem = {".safetensors": "model", ".bin": "pytorch_model"}[suffix]
    weight_map = {}
    for number, part in enumerate((names[:3], names[3:]), 1):
        file = f"{stem}-{number:05}-of-00002{suffix}"
        held = {name: state[name].contiguous() for name in part}
        if suffix == ".bin":
            torch.save(held, folder / file)
        else:
            save_file(held, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map | changes}))
    return index


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_an_index_is_read_as_all_its_shards_together(suffix, tmp_path):
    index = sharded(tmp_path, suffix)
    torch.testing.assert_close(loaded(index), network().state_dict(), rtol=0, atol=0)
    shard = next(tmp_path.glob(f"*-00001-of-00002{suffix}"))
    words = f"{shard.name} is one shard of .* (1 of 2): give the index, {index.name}, which lies"
    assert words.replace(".*", "a checkpoint in several files") in refusal(shard)
    shard.unlink()
    assert f"names the shard {shard.name}, which is not there" in refusal(index)


def test_a_shard_that_is_not_what_the_index_says_is_refused(tmp_path):
    second = "model-00002-of-00002.safetensors"
    index = sharded(tmp_path)
    first = sorted(network().state_dict())[0]
    held = read_tensors(tmp_path / second)
    save_file(held | {first: torch.ones(1)}, tmp_path / second)
    assert f"{second} holds {first} too, of which it says that model-00001" in refusal(index)
    save_file(held | {"new": torch.ones(1)}, tmp_path / second)
    assert f"{second} holds new too, which it does not name" in refusal(index)
    assert "lacks 1 tensors that model" in refusal(sharded(tmp_path, new=second))
    twice = (
        sharded(tmp_path).read_text().replace('"weight_map": {', '"weight_map": {"0.bias": "x",')
    )
    index.write_text(twice)
    assert "names '0.bias' twice" in refusal(index)
    assert "take out weights.key" in refusal(sharded(tmp_path), key="model")


@pytest.mark.parametrize(
    "shard", ["../secret.safetensors", "/etc/passwd", "a/b.bin", "..", "", "x\\y", 3, None, "a\0"]
)
def test_an_index_that_leads_out_of_its_folder_opens_nothing(shard, tmp_path):
    (tmp_path / "folder").mkdir()
    save_file({"secret": torch.ones(1)}, tmp_path / "secret.safetensors")
    index = sharded(tmp_path / "folder", secret=shard)
    assert "is no file of its own folder, so it is not opened" in refusal(index)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "JSON without a weight_map"),
        ("[" * 100_000, "is no JSON that can be read"),
        ('{"weight_map": []}', "JSON without a weight_map"),
        ('{"weight_map": {}}', "JSON without a weight_map"),
        ('{"weight_map"', "is no JSON that can be read"),
        ('{"weight_map": {"a": "x.index.json"}}', "no file of its own folder"),
    ],
)
def test_an_index_that_is_none_is_said_to_be_none(content, words, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    assert words in refusal(tmp_path / "model.safetensors.index.json")


# Other files


def test_a_file_of_another_kind_is_named_for_what_it_is(tmp_path):
    exported = torch.export.export(network()[:3], (torch.zeros(2, 3, 8, 8),))
    torch.export.save(exported, tmp_path / "net.pt2")
    np.savez(tmp_path / "arrays.npz", a=np.ones(2))
    quantised = torch.ao.quantization.quantize_dynamic(network(), {nn.Linear})
    torch.save(quantised.state_dict(), tmp_path / "int8.pth")
    for file, words in {
        "net.pt2": "is a program that torch.export saved (.pt2), not a checkpoint: save the state",
        "arrays.npz": "is an archive of numpy (.npz)",
        "int8.pth": "Its tensors are quantised, which are not read here",
    }.items():
        with pytest.raises(ValueError, match=re.escape(words)):
            read_tensors(tmp_path / file)
