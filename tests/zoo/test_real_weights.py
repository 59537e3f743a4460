"""The embedded zoo sees what it was trained to see: weights, their order, and preprocessing fit."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from torchvision.models import mobilenet_v2

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
ZOO = ROOT / "config/models.yaml"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels
TABBY, TIGER_CAT, EGYPTIAN_CAT = 281, 282, 285  # of ImageNet


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2"])
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
