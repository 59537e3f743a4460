"""DCGAN with classes: against brute force, and with the checkpoint it is for."""

import numpy as np
import pytest
import torch
from conftest import ROOT

from rosetta_steps.zoo.checkpoints.reading import load_state
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.generators.dcgan import DCGAN
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.weights import weights_file

ZOO = ROOT / "config/models.yaml"


def transposed_convolution(maps, weight, stride, padding):
    """Brute force: each position adds its kernel, scaled, to the output."""
    images, _, height, width = maps.shape
    _, after, kernel, _ = weight.shape
    full = np.zeros((images, after, (height - 1) * stride + kernel, (width - 1) * stride + kernel))
    for y in range(height):
        for x in range(width):
            patch = np.einsum("nc,cokl->nokl", maps[:, :, y, x], weight)
            top, left = y * stride, x * stride
            full[:, :, top : top + kernel, left : left + kernel] += patch
    return full[:, :, padding : full.shape[2] - padding, padding : full.shape[3] - padding]


def block(maps, state, convolution, norm, stride, padding):
    y = transposed_convolution(maps, state[f"main.{convolution}.weight"], stride, padding)
    of = {
        name: state[f"main.{norm}.{name}"][:, None, None]
        for name in ("weight", "bias", "running_mean", "running_var")
    }
    y = (y - of["running_mean"]) / np.sqrt(of["running_var"] + 1e-5) * of["weight"] + of["bias"]
    return np.maximum(y, 0)


def test_images_agree_with_brute_force_in_float64():
    torch.manual_seed(0)
    network = DCGAN(3, [4, 2], classes=2, first_dropout=0.2).double().eval()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(
                torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor)
            )
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    z, labels = torch.randn(3, 3, dtype=torch.float64), torch.tensor([1, 0, 1])
    one_hot = np.array([[0, 1], [1, 0], [0, 1]])
    maps = np.concatenate([z.numpy(), one_hot], axis=1)[:, :, None, None]
    maps = block(maps, state, 0, 1, stride=1, padding=0)
    maps = block(maps, state, 4, 5, stride=2, padding=1)  # 3 is the dropout
    expected = np.tanh(transposed_convolution(maps, state["main.7.weight"], 2, 1))
    with torch.inference_mode():
        actual = network(z, labels)
    assert actual.shape == (3, 3, 16, 16)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_dropout_moves_the_names_and_nothing_else():
    torch.manual_seed(0)
    plain, moved = DCGAN(3, [4, 2]).eval(), DCGAN(3, [4, 2], first_dropout=0.2).eval()
    shift = {0: 0, 1: 1, 3: 4, 4: 5, 6: 7}
    state = {}
    for name, tensor in plain.state_dict().items():
        _, index, rest = name.split(".")
        state[f"main.{shift[int(index)]}.{rest}"] = tensor
    load_state(moved, state, "moved")
    z = torch.randn(2, 3)
    assert torch.equal(plain(z), moved(z))


def test_a_network_without_classes_keeps_the_names_it_had():
    names = list(DCGAN(3, [4, 2]).state_dict())
    assert [name for name in names if name.endswith("weight")] == [
        "main.0.weight",
        "main.1.weight",
        "main.3.weight",
        "main.4.weight",
        "main.6.weight",
    ]


def test_labels_are_asked_for_and_truncation_is_refused():
    network = DCGAN(3, [4, 2], classes=2)
    assert (network.latent_size, network.classes, network.truncates) == (3, 2, False)
    with pytest.raises(ValueError, match="2 classes and no labels"):
        network(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="truncation 0.5 must be 1"):
        network(torch.zeros(1, 3), torch.tensor([0]), 0.5)


def test_it_runs_on_the_meta_device():
    with torch.device("meta"):
        network = DCGAN(3, [4, 2], classes=2)
        assert network(torch.zeros(2, 3), torch.zeros(2, dtype=int)).shape == (2, 3, 16, 16)


def test_the_published_eyes_have_the_colour_of_their_class():
    entry = find_entry("cdcgan-eyes", str(ZOO))
    generator = load("cdcgan-eyes", entry, weights_file("cdcgan-eyes", entry))
    colours = entry.classes
    # The same z for each class: only the class makes the difference.
    z = torch.randn(8, 100, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(colours)).repeat_interleave(8)
    with torch.inference_mode():
        images = generator.generate(z.repeat(len(colours), 1), labels).unflatten(0, (-1, 8))
    red, green, blue = images.mean(dim=(1, 3, 4)).T
    saturation = (images.amax(dim=2) - images.amin(dim=2)).mean(dim=(1, 2, 3))
    # Skin is reddish in every class, so red is measured against green alone.
    assert colours[(red - green).argmax()] == "red"
    assert colours[(green - (red + blue) / 2).argmax()] == "green"
    assert colours[saturation.argmin()] == "grayscale"
    assert saturation.min() < 0.05
