"""Entries, weights and taps: what the zoo promises and what it refuses."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from rosetta_steps import activations, sampling
from rosetta_steps.plan import plan
from rosetta_steps.stores import MapReader
from rosetta_steps.zoo.checkpoints.reading import load_state, read_tensors
from rosetta_steps.zoo.entries import check, find_entry, read_entries
from rosetta_steps.zoo.loading import choose_layers, load
from rosetta_steps.zoo.models.preprocessing import preprocessing_of
from rosetta_steps.zoo.taps import Layer, activations_of, layers_of
from rosetta_steps.zoo.weights import weights_file

ZOO = "config/models.yaml"


class Shared(nn.Module):
    """One in-place ReLU called twice, and a successor that overwrites its output."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        first = self.relu(self.convolution(x))
        return self.relu(first.neg_().add_(0.1))


def test_a_module_called_twice_is_two_layers_and_in_place_successors_do_no_harm():
    torch.manual_seed(0)
    module, x = Shared(), torch.rand(2, 3, 4, 4)
    assert [layer.name for layer in layers_of(module, lambda: module(x))] == ["relu", "relu#1"]
    maps, _ = activations_of(module, lambda: module(x), ["relu", "relu#1"])
    first = torch.relu(module.convolution(x))
    torch.testing.assert_close(maps["relu"], first)
    torch.testing.assert_close(maps["relu#1"], torch.relu(0.1 - first))


def test_the_committed_zoo_follows_its_schema():
    assert "dcgan-digiface" in read_entries()


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="no model 'open-nsvw'.*Did you mean 'open-nsfw'"):
        find_entry("open-nsvw")


def test_an_unknown_key_of_an_entry_is_refused_by_name():
    entry = dict(find_entry("open-nsfw"), licens="MIT")
    with pytest.raises(ValueError, match="unknown key 'licens'. Did you mean 'licence'"):
        check({"open-nsfw": entry}, "models", "models.yaml")


def test_layer_patterns_that_match_nothing_are_refused_with_the_layers_there_are():
    entry = find_entry("dcgan-digiface")
    with pytest.raises(ValueError, match=r"'block.\*' matches no layer of m. Its 4.*main.2"):
        choose_layers("m", entry, load("m", entry), ["block.*"])


def test_a_loader_that_does_not_fit_the_role_is_refused(tmp_path):
    entry = dict(find_entry("dcgan-digiface"), role="model")
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump({"m": entry}))
    with pytest.raises(ValueError, match="at m: loader 'dcgan' loads no model. .*timm"):
        read_entries(str(tmp_path / "zoo.yaml"))


def planned(layers):
    models = ["dcgan-digiface", "efficientnet-lite0"]
    return plan(models, ZOO, layers, 2, "float16", Path("nowhere"), 32)


def test_each_pattern_of_a_mixed_zoo_matches_some_model():
    assert "efficientnet-lite0" in planned(["main.*", "bn?.act"])
    with pytest.raises(ValueError, match=r"'Relu\*' matches no layer of any of dcgan-digi"):
        planned(["main.*", "bn?.act", "Relu*"])


def test_an_entry_that_leaves_preprocessing_open_is_refused():
    with pytest.raises(ValueError, match="entry of net says nothing of interpolation"):
        preprocessing_of("net", {}, {"size": (2, 2), "mean": (0, 0, 0), "std": (1, 1, 1)})


@pytest.fixture
def local(tmp_path):
    """A tiny DCGAN as a local file and its entry."""
    from rosetta_steps.zoo.generators.dcgan import DCGAN

    torch.manual_seed(0)
    path = tmp_path / "weights.pt"
    torch.save({"g": DCGAN(5, [4, 3]).state_dict()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "role": "generator",
        "loader": "dcgan",
        "architecture": {"latent": 5, "channels": [4, 3]},
        "weights": {"path": str(path), "sha256": digest, "key": "g"},
        "layers": {"block": ["*"]},
        "source": "test",
        "licence": "MIT",
    }, path


def test_altered_weights_are_refused_before_they_are_loaded(local):
    entry, path = local
    assert weights_file("tiny", entry) == path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="has been altered: its sha256 is"):
        weights_file("tiny", entry)


def test_a_weights_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "bad.pt"
    path.write_bytes(pickle.dumps({"g": Malicious()}))
    with pytest.raises(ValueError, match="would run code when loaded"):
        read_tensors(path)
    assert not (tmp_path / "ran").exists()


def test_a_truncated_checkpoint_is_refused_by_name(local):
    _, path = local
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="weights.pt cannot be read"):
        read_tensors(path)


def test_a_checkpoint_that_does_not_fit_says_which_tensors():
    with pytest.raises(ValueError, match="1 missing .first bias.*1 left over .first extra.*other"):
        load_state(nn.Linear(2, 3), {"weight": torch.zeros(2, 2), "extra": torch.zeros(1)}, "m")


def test_an_image_depends_on_the_seed_and_its_index_alone():
    few = [sampling.latent(7, i, 5) for i in range(3)]
    np.testing.assert_array_equal(few[2], sampling.latent(7, 2, 5))
    assert not np.array_equal(few[0], few[1])
    assert not np.array_equal(few[0], sampling.latent(8, 0, 5))


def test_a_killed_dump_goes_on_where_it_stopped_with_the_same_result(local, tmp_path, monkeypatch):
    import yaml

    entry, _ = local
    zoo = tmp_path / "zoo.yaml"
    zoo.write_text(yaml.safe_dump({"tiny": entry}))
    samples = tmp_path / "samples.zarr"
    sampling.sample("tiny", str(zoo), 10, 0, samples, "cpu")

    def dump(name):
        store = tmp_path / name
        activations.dump("tiny", str(zoo), samples, "block", "float16", 4, store, "cpu")
        return MapReader(store)

    whole = dump("whole.zarr")
    written = []
    original = activations.MapWriter.write

    def write_two_blocks(writer, block, maps):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(block)
        original(writer, block, maps)

    monkeypatch.setattr(activations.MapWriter, "write", write_two_blocks)
    with pytest.raises(KeyboardInterrupt):
        dump("killed.zarr")
    assert not (tmp_path / "killed.zarr.done.json").exists()
    written.clear()
    resumed = dump("killed.zarr")
    assert [block.start for block in written] == [8]
    for layer in whole.layers:
        np.testing.assert_array_equal(
            whole.read(layer, slice(0, 10)), resumed.read(layer, slice(0, 10))
        )


def test_values_that_are_not_finite_are_named_with_model_layer_and_images():
    maps = torch.zeros((4, 2, 3, 3), dtype=torch.float16)
    maps[1, 0, 0, 0], maps[3, 1, 2, 2] = np.nan, np.inf
    with pytest.raises(ValueError, match="net, layer relu: .* in images 33, 35"):
        activations.refuse_what_is_not_finite("net", "relu", maps, slice(32, 36))


def test_a_dump_that_the_disk_cannot_hold_is_refused_before_it_starts(tmp_path):
    with pytest.raises(ValueError, match="GB free"):
        activations.refuse_what_does_not_fit(
            [Layer("layer", 4096, (512, 512), "ReLU")], 10**6, "float16", tmp_path / "x.zarr"
        )
