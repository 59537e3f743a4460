"""The public surface: what a notebook imports, by the examples of its docstrings."""

import doctest
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

import rosetta_steps as rs
from rosetta_steps.zoo import opening


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_examples_of_models_and_generators_run():
    found = doctest.testmod(opening)
    assert found.attempted > 6 and found.failed == 0


def test_what_is_public_is_there_and_importing_it_loads_no_torch():
    for name in rs.__all__:
        assert getattr(rs, name)
    with pytest.raises(AttributeError, match="no attribute 'open_modle'"):
        rs.open_modle  # noqa: B018
    code = "import sys, rosetta_steps as rs; dir(rs); print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_maps_are_those_of_the_model_whatever_the_batches(monkeypatch):
    model = rs.open_model("mae-digiface")
    images = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    layers = model.layers("all")
    monkeypatch.setattr(opening, "AT_ONCE", 2)
    maps = model.activations(images.numpy(), layers[:2])
    assert list(maps.children) == layers[:2]
    expected = model.loaded.activations(images, layers[:2])
    for name, of_layer in expected.items():
        np.testing.assert_allclose(maps[name]["activation"], of_layer, atol=1e-5)
    assert maps[layers[0]].attrs["nonlinearity"] == "GELU"


def test_samples_are_those_of_a_sample_set_and_its_labels_go_with_them():
    generator = rs.open_generator("dcgan-digiface")
    two, three = generator.sample(2, seed=3), generator.sample(3, seed=3)
    np.testing.assert_array_equal(two["latent"], three["latent"][:2])
    np.testing.assert_allclose(two["image"], three["image"][:2], atol=1e-6)
    assert two.attrs["seed"] == 3


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((3, 64, 64)), r"shape \(3, 64, 64\); expected \(image, rgb, y, x\)"),
        (np.zeros((1, 64, 64, 3)), "is transposed by"),
        (np.full((1, 3, 8, 8), 255), "values from 255 to 255; expected 0 to 1. Divide bytes"),
        (np.full((1, 3, 8, 8), -0.5), "values from -0.5"),
    ],
)
def test_images_of_another_form_are_refused_with_the_remedy(images, words):
    with pytest.raises(ValueError, match=words):
        opening.images_from(images)


def test_what_is_not_there_is_refused_by_name():
    with pytest.raises(ValueError, match="no model 'mae-digifce' .* Did you mean 'mae-digiface'"):
        rs.open_model("mae-digifce")
    with pytest.raises(ValueError, match="mae-digiface is no generator"):
        rs.open_generator("mae-digiface")
    with pytest.raises(ValueError, match="dcgan-digiface is a generator, which is given latents"):
        rs.open_model("dcgan-digiface").activations(np.zeros((1, 3, 64, 64)))
    with pytest.raises(ValueError, match="nothing.zarr does not exist. Sample sets in"):
        rs.open_results("nothing")
