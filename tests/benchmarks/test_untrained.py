"""The comparison of a trained network with the same one untrained, on networks of a few layers."""

import sys

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from rosetta_steps.benchmarks import untrained
from rosetta_steps.evidence.untrained import table_of
from rosetta_steps.zoo.checkpoints.reading import read_tensors
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.generators.dcgan import DCGAN
from rosetta_steps.zoo.loading import load

GENERATOR = {"latent": 5, "channels": [6, 4]}
WORDS = {"source": "random weights", "licence": "MIT"}


@pytest.fixture
def zoo(tmp_path):
    """A generator, and a model whose weights are those that timm draws with seed 7."""
    torch.manual_seed(0)
    save_file(DCGAN(**GENERATOR).state_dict(), tmp_path / "generator.safetensors")
    torch.manual_seed(7)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "model.safetensors")
    entries = {
        "generator": {
            "role": "generator",
            "loader": "dcgan",
            "architecture": GENERATOR,
            "weights": {"path": str(tmp_path / "generator.safetensors")},
            **WORDS,
        },
        "model": {
            "role": "model",
            "loader": "timm",
            "architecture": "test_resnet",
            "weights": {"path": str(tmp_path / "model.safetensors")},
            "preprocessing": {"size": [32, 32]},
            **WORDS,
        },
    }
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump(entries))
    return str(tmp_path / "zoo.yaml")


def test_a_figure_that_some_networks_lack_is_averaged_over_the_others_and_says_so():
    networks = {"seed 0": {"pairs": 2, "r": 0.25}, "seed 1": {"pairs": 4, "r": np.nan}}
    table = table_of({"pairs": 9, "r": 0.5}, networks)
    assert table["untrained_mean"].tolist() == [3, 0.25]
    assert table["networks"].tolist() == [2, 1]
    assert untrained.markdown(table).splitlines()[2:] == [
        "| pairs | 9 | 3 (2 to 4) |",
        "| r | 0.500 | 0.250, 1 of 2 networks |",
    ]
    none = table_of({"r": 0.5}, {"seed 0": {"r": np.nan}})
    assert untrained.markdown(none).splitlines()[2:] == ["| r | 0.500 | none |"]


def test_random_weights_are_those_that_timm_draws_with_the_seed_whatever_was_drawn_before(
    zoo, tmp_path
):
    entry = find_entry("model", zoo)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    untrained.initialise("model", entry, 7, tmp_path / "random.safetensors")
    assert torch.equal(torch.random.get_rng_state(), state)
    found, expected = (
        read_tensors(tmp_path / f"{name}.safetensors") for name in ("random", "model")
    )
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet-lite0", "clip-rn50", "clip-vitb32"])
def test_an_entry_with_other_weights_still_says_how_images_are_normalised_and_what_it_computes(
    name,
):
    entry = find_entry(name)
    other = untrained.with_weights(name, entry, "other.safetensors")
    assert other.weights == Weights(path="other.safetensors") and other.keys is None
    one, two = load(name, entry), load(name, other)
    assert one.preprocessing.attrs() == two.preprocessing.attrs()
    assert str(one.module) == str(two.module)  # QuickGELU stays QuickGELU


def test_the_tag_of_weights_that_a_library_fetches_moves_into_the_architecture():
    timm_entry = Entry("model", "timm", "resnet50", Weights(timm="a1_in1k"))
    moved = untrained.with_weights("x", timm_entry, "f")
    assert moved.keywords["name"] == "resnet50.a1_in1k"
    clip = Entry("model", "open_clip", "RN50", Weights(open_clip="cc12m"))
    assert untrained.with_weights("x", clip, "f").architecture == {
        "name": "RN50",
        "tag": "cc12m",
    }


def test_the_command_compares_and_leaves_a_table_and_no_maps(zoo, tmp_path, monkeypatch, capsys):
    random = tmp_path / "random.safetensors"
    untrained.initialise("model", find_entry("model", zoo), 8, random)
    initial = [str(tmp_path / "model.safetensors"), str(random)]
    command = f"untrained --generator generator --model model --zoo {zoo} --images 8"
    command += f" --patterns layer2.*.act? --threads 1 --output {tmp_path / 'out'}"
    command += " --generator-layers all --initial"
    monkeypatch.setattr(sys, "argv", [*command.split(), *initial])
    threads = torch.get_num_threads()
    untrained.main()
    torch.set_num_threads(threads)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["untrained.csv"]
    table = pd.read_csv(tmp_path / "out" / "untrained.csv").set_index("figure")
    # The first file is the trained network itself, so all its figures are the same.
    pd.testing.assert_series_equal(table["trained"], table[initial[0]], check_names=False)
    assert (table["trained"] != table[initial[1]])["mean over generator units of the best r"]
    assert table.loc["K = 1: pairs", "trained"] > 0
    printed = capsys.readouterr()
    assert f"| K = 1: pairs | {table.loc['K = 1: pairs', 'trained']:.0f} | " in printed.out
    assert f"network 3 of 3: model, {random}" in printed.err


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("open-nsfw", {"initial": ["x"]}, "the role 'model' and the loader 'onnx'. Choose a model"),
        ("dcgan-digiface", {}, "has the role 'generator'"),
        ("mae-digiface", {"images": 0}, "--images 0: correlations need at least 1"),
        ("mae-digiface", {"untrained": 0}, "--untrained 0: there is nothing to compare with"),
        ("mae-digiface", {"initial": ["gone.safetensors"]}, "gone.safetensors does not exist"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_computed(
    name, arguments, message, tmp_path
):
    arguments = {"images": 8, "untrained": 3, "initial": []} | arguments
    arguments["initial"] = [tmp_path / file for file in arguments["initial"]]
    with pytest.raises(ValueError, match=message):
        untrained.check(name, find_entry(name), **arguments)


def test_a_preset_of_layers_that_a_model_lacks_is_refused_before_anything_is_computed(
    zoo, tmp_path, capsys
):
    with pytest.raises(ValueError, match="model has no layer preset 'block'"):
        untrained.compare(
            "generator",
            "model",
            zoo,
            images=8,
            seed=0,
            output=tmp_path / "out",
            untrained=1,
            initial=None,
            generator_layers="all",
        )
    assert not (tmp_path / "out").exists() and "sampling" not in capsys.readouterr().err


def test_a_file_of_another_network_is_refused_before_anything_is_computed(zoo, tmp_path, capsys):
    other = tmp_path / "generator.safetensors"
    with pytest.raises(ValueError, match="generator.safetensors"):
        untrained.compare(
            "generator",
            "model",
            zoo,
            images=8,
            seed=0,
            output=tmp_path / "out",
            untrained=1,
            initial=[other],
            generator_layers="all",
            layers="all",
        )
    assert not (tmp_path / "out").exists() and "sampling" not in capsys.readouterr().err
