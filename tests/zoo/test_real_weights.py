"""The embedded zoo sees what it was trained to see: weights, their order, and preprocessing fit."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

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
TABBY, TIGER_CAT, EGYPTIAN_CAT = 281, 282, 285  # of ImageNet


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2"])
def test_a_photo_of_a_tabby_is_seen_as_a_cat(name):
    pixels = np.asarray(Image.open(weights_file("photo", PHOTO)).convert("RGB"))
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None] / 255
    entry = find_entry(name, str(ZOO))
    model = load(name, entry, weights_file(name, entry))
    best = model.scores(image)[0].topk(3).indices.tolist()
    assert set(best) == {TABBY, TIGER_CAT, EGYPTIAN_CAT}
