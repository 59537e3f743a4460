"""Checkpoints read as data: every layout gives the same tensors and the settings it states."""

import hashlib
import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from checkpoint_files import (
    Clip,
    Network,
    assert_same,
    persistent_module,
    rosinality,
    tensorflow_network,
    text,
)
from safetensors.torch import load_file, save_file
from torch import nn

from rosetta_steps.zoo.checkpoints.convert import convert
from rosetta_steps.zoo.checkpoints.reading import load_state, read_checkpoint, read_tensors
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.generators.generator import Generator
from rosetta_steps.zoo.generators.generator import load as load_generator

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")


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


def test_a_torchscript_archive_gives_its_tensors_without_its_code(tmp_path):
    model = Clip()
    torch.jit.script(model).save(tmp_path / "RN50.pt")
    checkpoint = read_checkpoint(tmp_path / "RN50.pt")
    expected = model.state_dict()
    del expected["input_resolution"]
    assert_same(checkpoint.tensors, expected)
    assert checkpoint.layout == "torchscript" and checkpoint.settings == {"input_resolution": 224}


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
def clamped(golden, written_as_persistent, tmp_path):
    """Write a StyleGAN2 with a bound of its activations, which is an attribute of its layers."""

    def write(clamp: float | None, **keywords) -> Path:
        network = persistent_module(
            golden, z_dim=16, img_resolution=32, _init_args=(), _init_kwargs=keywords
        )
        for size in (4, 8, 16, 32):
            block = network.get_submodule(f"synthesis.b{size}")
            for layer in block.children():
                layer.conv_clamp = clamp
        path = tmp_path / "network.pkl"
        path.write_bytes(written_as_persistent({"G_ema": network}))
        return path

    return write


def generator_of(path: Path, **architecture) -> Generator:
    entry = Entry("generator", "stylegan2", CLAMPED | architecture, Weights())
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


def test_a_tensorflow_pickle_that_states_no_bound_has_none(golden, written_with, tmp_path):
    gs = tensorflow_network(golden)
    content = written_with("dnnlib.tflib.network", "Network", Network, (gs, gs, gs), 3)
    (path := tmp_path / "cat.pkl").write_bytes(content)
    generator_of(path)
    words = (
        r"conv_clamp null, its entry clamp: 0\.9\. Write clamp: null into `architecture` of tiny"
    )
    for file in (path, convert(path, tmp_path / "converted")):
        with pytest.raises(ValueError, match=words):
            generator_of(file, clamp=0.9)


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
