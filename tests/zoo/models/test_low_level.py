"""Low-level features as a model of the zoo, which has no weights."""

import numpy as np
import pytest
import torch

from rosetta_steps.workflow.chosen import Chosen
from rosetta_steps.zoo.entries import find_entry, has_weights, read_entries
from rosetta_steps.zoo.models.low_level import FEATURES, features
from rosetta_steps.zoo.opening import open_model


def test_its_one_layer_has_the_features_of_the_image_at_the_input_size():
    images = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    model = open_model("low-level")
    assert model.layers() == model.layers("block") == ["features"]
    found = model.activations(images)["features"]["activation"].values
    assert found.shape == (2, len(FEATURES), 64, 64)
    expected = features(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    luminance = images.transpose(0, 2, 3, 1) @ np.float32([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found[:, FEATURES.index("luminance")], luminance, atol=1e-6)
    assert model.activations(images[:, :, ::2, ::2])["features"]["activation"].sizes["y"] == 64


def test_it_has_no_weights_and_so_no_untrained_copy_in_a_sample_set():
    assert not has_weights(find_entry("low-level")) and has_weights(find_entry("open-nsfw"))
    models = ["open-nsfw", "low-level"]
    sample_set = {"generator": "dcgan-digiface", "models": models, "untrained": 2}
    chosen = Chosen({"zoo": "config/models.yaml", "sample_sets": {"mine": sample_set}})
    assert [len(chosen.untrained_of("mine", model)) for model in models] == [2, 0]


def test_weights_of_a_model_that_has_none_are_refused(tmp_path):
    (tmp_path / "zoo.yaml").write_text(
        "mine:\n  {role: model, loader: low-level, architecture: {}, weights: {path: x},\n"
        "   source: x, licence: x}\n"
    )
    with pytest.raises(ValueError, match=r"at mine: .* has no weights. Write weights: {function"):
        read_entries(tmp_path / "zoo.yaml")
