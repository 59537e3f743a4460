"""Words on images by a CLIP: the cosines that open_clip itself has, from a file of both towers."""

import argparse
import json

import numpy as np
import open_clip
import pytest
import torch
import xarray as xr
import yaml
from safetensors.torch import save_file
from torch import nn

from rosetta_steps.labelling.scores import read_scores
from rosetta_steps.labelling.words import carry_out
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import read_manifest
from rosetta_steps.testing import made, write_timm
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.models.open_clip_text import TextTower

TEXT = {"context_length": 24, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 2}
VISION = {"image_size": 32, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1}
TINY = {"embed_dim": 8, "vision_cfg": VISION, "text_cfg": TEXT}
KINDS = {
    "tiny-clip": TINY,
    "tiny-quickgelu": TINY | {"quick_gelu": True},
    # Text tower under text., with a projection that has a bias, as newer ones are.
    "tiny-custom": TINY | {"custom_text": True, "text_cfg": TEXT | {"proj_bias": True}},
}
WORDS = ["dog", "hot dog", "<script>alert(1)</script>", "été"]
PLAIN = {"interpolation": "bilinear", "mean": [0.4, 0.4, 0.4], "std": [0.2, 0.3, 0.2]}


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """Tiny architectures of open_clip; their folder."""
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [])
    for name, config in KINDS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    hub = TEXT | {"hf_tokenizer_name": "somebody/tokens"}
    (tmp_path / "tiny-hub.json").write_text(json.dumps(TINY | {"text_cfg": hub}))
    open_clip.add_model_config(tmp_path)
    return tmp_path


def entry(name):
    given = {"role": "model", "loader": "open_clip", "architecture": name, "preprocessing": PLAIN}
    given |= {"weights": {"path": "clip.safetensors"}, "source": "a test", "licence": "none"}
    return given


def saved(folder, name, part=""):
    torch.manual_seed(0)
    whole = open_clip.create_model(name).eval()
    for value in whole.parameters():
        nn.init.normal_(value, 0.05, 0.2)
    tensors = {key: value.clone() for key, value in whole.state_dict().items() if part in key}
    save_file(tensors, folder / "clip.safetensors")
    return whole


@pytest.mark.parametrize("name", KINDS)
def test_scores_are_the_cosines_of_open_clips_own_embeddings(clips, monkeypatch, name):
    monkeypatch.chdir(clips)
    whole = saved(clips, name)
    (clips / "zoo.yaml").write_text(yaml.safe_dump({"clip": entry(name)}))
    (clips / "words.txt").write_text("# mine\n" + "\n".join(WORDS), encoding="utf-8")
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    shown = xr.Dataset({"image": (("image", "rgb", "y", "x"), images.numpy())})
    write_dataset(shown, clips / "s.zarr", made("samples", of={}))
    asked = argparse.Namespace(
        vocabulary=clips / "words.txt", model="clip", zoo="zoo.yaml", samples=clips / "s.zarr",
        template="a photo of a {}.", output=clips / "words.zarr", identity=None,
    )  # fmt: skip
    carry_out(asked)
    scores, labels, sources = read_scores([clips / "words.zarr"])
    tokens = open_clip.get_tokenizer(name)([f"a photo of a {word}." for word in WORDS])
    normalised = (images - torch.tensor(PLAIN["mean"]).view(3, 1, 1)) / torch.tensor(
        PLAIN["std"]
    ).view(3, 1, 1)
    with torch.inference_mode():
        of_images = whole.encode_image(normalised, normalize=True)
        expected = of_images @ whole.encode_text(tokens, normalize=True).T
    np.testing.assert_allclose(scores, expected.numpy(), atol=2e-6)
    assert labels == WORDS and sources == ["open_clip"] * 4
    assert scores.std(0).min() > 5e-4  # and not the same for all images
    made_of = read_manifest(clips / "words.zarr")["made_of"]
    assert {"samples on samples", "weights of clip", "entry of clip"} <= made_of.keys()


def test_a_file_of_the_image_tower_alone_is_refused(clips):
    saved(clips, "tiny-clip", part="visual.")
    with pytest.raises(ValueError, match="has the image tower alone, and words need the text tow"):
        tower(clips, "tiny-clip")


def tower(folder, name):
    return TextTower("clip", Entry.from_mapping(entry(name)), folder / "clip.safetensors", "cpu")


def test_a_file_that_lacks_tensors_of_the_text_tower_is_refused(clips):
    saved(clips, "tiny-custom", part="text.token")
    with pytest.raises(ValueError, match="does not fit the architecture: of 30 tensors, 29"):
        tower(clips, "tiny-custom")


def test_tokenisers_of_a_hub_are_refused(clips):
    with pytest.raises(ValueError, match="text tower of tiny-hub has a tokeniser of a hub"):
        tower(clips, "tiny-hub")


def test_a_phrase_that_the_text_tower_would_cut_off_is_refused(clips):
    saved(clips, "tiny-clip")
    text = tower(clips, "tiny-clip")
    assert text(["dog " * 22]).shape == (1, 8)
    with pytest.raises(ValueError, match="clip reads 22 tokens, and 'dog dog .*has 23. Shorten it"):
        text(["dog", "dog " * 23])


def test_a_model_without_a_text_tower_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zoo = {"one": write_timm(tmp_path / "one.safetensors")}
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump(zoo))
    (tmp_path / "words.txt").write_text("dog")
    asked = argparse.Namespace(vocabulary=tmp_path / "words.txt", model="one", zoo="zoo.yaml")
    with pytest.raises(ValueError, match="--model one is of the loader timm, which has no text"):
        carry_out(asked)
