"""Tiny networks: their files load through the entries that come with them."""

import subprocess
import sys

import pytest
import torch

from rosetta_steps.config.schema import check
from rosetta_steps.testing import write_dcgan, write_function, write_maps, write_timm
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.loading import load


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_generator_makes_images_of_four_pixels_doubled_by_every_block(here):
    entry = write_dcgan(here / "g.safetensors", latent=3, channels=[6, 4], classes=2)
    check({"g": entry}, "models", "models.yaml")
    generator = load("g", Entry.from_mapping(entry), here / "g.safetensors")
    images = generator.generate(torch.zeros(2, 3), torch.tensor([0, 1]))
    assert images.shape == (2, 3, 16, 16)
    assert [(layer.name, layer.channels, layer.size) for layer in generator.layers()] == [
        ("main.2", 6, (4, 4)),
        ("main.5", 4, (8, 8)),
    ]


def test_a_network_of_timm_and_a_function_are_models(here):
    entries = {
        "one": write_timm(here / "one.safetensors", size=64),
        "own": write_function(here / "tiny_of_testing.py", channels=5, size=(32, 48)),
    }
    check(entries, "models", "models.yaml")
    one = load("one", Entry.from_mapping(entries["one"]), here / "one.safetensors")
    assert {layer.size[0] for layer in one.layers()} <= {32, 16, 8, 4, 2}
    (maps,) = load("own", Entry.from_mapping(entries["own"]), None).layers()
    assert (maps.name, maps.channels, maps.size) == ("1", 5, (15, 23))


def test_the_same_seed_gives_the_same_weights_and_another_one_others(here):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dcgan(here / f"{name}.safetensors", seed=seed)
    a, b, c = ((here / f"{name}.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_layers_of_unequal_numbers_of_images_are_refused(here):
    maps = {"x": torch.zeros(3, 1, 2, 2).numpy(), "y": torch.zeros(2, 1, 2, 2).numpy()}
    with pytest.raises(ValueError, match="layers of as many images are wanted, not {'x': 3"):
        write_maps(here / "a.zarr", maps)


def test_nothing_of_it_needs_pytest():
    code = "import sys, rosetta_steps.testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
