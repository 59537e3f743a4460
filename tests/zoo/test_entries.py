"""Entries, weights and taps: what the zoo promises and what it refuses."""

import hashlib
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT
from own_configs import EXAMPLES, FILE
from torch import nn

from rosetta_steps.maps import running
from rosetta_steps.maps.copying import refuse_what_does_not_fit
from rosetta_steps.maps.plan import plan
from rosetta_steps.maps.store import MapReader, MapWriter
from rosetta_steps.testing import dump_maps
from rosetta_steps.zoo import entries
from rosetta_steps.zoo.checkpoints.reading import load_state, read_tensors
from rosetta_steps.zoo.entries import (
    check,
    entry_digest,
    find_entry,
    read_entries,
    read_yaml,
)
from rosetta_steps.zoo.entry import SOURCES, Entry, Weights
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.generators.latents import latent
from rosetta_steps.zoo.hooks import activations_of, layers_of
from rosetta_steps.zoo.loading import choose_layers, load
from rosetta_steps.zoo.models.functions import build_module
from rosetta_steps.zoo.models.preprocessing import preprocessing_of
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


def test_an_entry_says_again_what_yaml_said_and_no_default_beside_it():
    """So that digests of entries, and files of weights in the cache, stay the same."""
    written = yaml.safe_load(Path(ZOO).read_text())
    written["more"] = {
        "role": "model",
        "loader": "onnx",
        "architecture": {},
        "weights": {"path": "x", "files": ["y"], "ignore": ["z"], "prefix": "p."},
        "keys": "by_name",
        "preprocessing": {},
        "source": "test",
        "licence": "MIT",
    }
    for mapping in written.values():
        assert Entry.from_mapping(mapping).to_mapping() == mapping


@pytest.mark.parametrize("source", SOURCES)
def test_weights_name_their_source(source):
    weights = Weights.from_mapping({source: True if source == "function" else "x", "key": "k"})
    assert weights.source == source and weights.is_local == (source in ("path", "function"))


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="no model 'open-nsvw'.*Did you mean 'open-nsfw'"):
        find_entry("open-nsvw")


def test_an_unknown_key_of_an_entry_is_refused_by_name():
    entry = find_entry("open-nsfw").to_mapping() | {"licens": "MIT"}
    with pytest.raises(ValueError, match="unknown key 'licens'. Did you mean 'licence'"):
        check({"open-nsfw": entry}, "models", "models.yaml")


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        ({}, "it gives none"),
        ({"package": "p", "file": "f"}, "it gives 'package', 'file'"),
        ({"url": "https://a.b/c", "path": "c"}, "it gives 'url', 'path'"),
    ],
)
def test_weights_of_no_source_or_of_several_are_refused_with_the_sources(weights, found):
    entry = find_entry("open-nsfw").to_mapping() | {"weights": weights}
    choices = r"'package' \+ 'version' \+ 'file' \+ 'sha256', 'url', 'timm', .*'path', 'function'"
    with pytest.raises(
        ValueError, match=f"at m.weights: {found}; give exactly one source of: {choices}"
    ):
        check({"m": entry}, "models", "models.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\n\na: 3\n", "'a' stands in line 1 and again in line 4"),
        ("net:\n  role: x\n  role: y\n", "'role' stands in line 2 and again in line 3"),
        ("- {z: 1, y: {z: 2}, 'z': 3}", "'z' stands in line 1 and again in line 1"),
        ("a: &a {k: 1}\nb:\n  <<: *a\n  l: 1\n  l: 2\n", "'l' stands in line 4 and again in .* 5"),
    ],
)
def test_a_key_twice_in_one_mapping_is_refused_with_both_lines(tmp_path, text, words):
    (tmp_path / "zoo.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"zoo.yaml: {words}"):
        read_yaml(tmp_path / "zoo.yaml")


def test_merge_keys_may_be_overridden_and_used_again(tmp_path):
    text = "a: &a {k: 1, m: 1}\nb: {in: {in: &b {<<: *a, k: 2}}}\nc: {<<: *b, m: 3}\nd: {<<: *b}\n"
    text += "1: x\n'1': y\n"
    (tmp_path / "zoo.yaml").write_text(text)
    assert read_yaml(tmp_path / "zoo.yaml") == yaml.safe_load(text)


@pytest.mark.parametrize("path", ["config/models.yaml", FILE, *EXAMPLES])
def test_the_committed_files_hold_no_key_twice(path):
    assert read_yaml(path) == yaml.safe_load(Path(path).read_text())


OWN_FILES = {
    "nets/__init__.py": "",
    "nets/mine.py": "import far.away.there\nfrom . import blocks\nfrom .inner.parts import x",
    "nets/blocks.py": "def block():\n    from shared import helpers",
    "nets/inner/__init__.py": "from ..up import *",
    "nets/inner/parts.py": "import nets.mine  # a circle",
    "nets/up.py": "",
    "shared/helpers.py": "from helper_of_helpers import one",
    "helper_of_helpers.py": "one = 1",
    "far/__init__.py": "import broken",
    "far/away/there.py": "",
    "broken.py": "def (",
}


@pytest.fixture
def digest_of_own(tmp_path, monkeypatch):
    """Writes modules of the user's own, and gives the digest of the entry of their function."""
    monkeypatch.chdir(tmp_path)
    for file, code in OWN_FILES.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(code)
    entry = Entry("model", "function", {"function": "nets.mine:build"}, Weights())
    return lambda: entry_digest(entry)


@pytest.mark.parametrize("file", OWN_FILES)
def test_a_model_follows_from_all_that_its_function_imports_below_the_folder(digest_of_own, file):
    before = digest_of_own()
    assert digest_of_own() == before
    Path(file).write_text(OWN_FILES[file] + "\n# changed")
    assert digest_of_own() != before


def test_a_network_of_the_zoo_follows_from_its_revision_wherever_one_works(monkeypatch, tmp_path):
    entry = find_entry("squeezenet", str(ROOT / "config/models.yaml"))
    here = entry_digest(entry)
    monkeypatch.chdir(tmp_path)
    assert entry_digest(entry) == here
    found = set()
    for raised in ("zoo.models.squeezenet", "zoo.models.functions", "zoo.models.hed"):
        monkeypatch.setattr(entries, "revision", lambda step, raised=raised: 1 + (step == raised))
        found.add(entry_digest(entry))
    assert len(found) == 3 and here in found  # of another network nothing follows


def test_a_model_does_not_follow_from_files_its_function_leaves_alone(digest_of_own):
    before = digest_of_own()
    for file in ("nets/other.py", "shared/other.py", "torch/other.py"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("x = 1")
    assert digest_of_own() == before


UNSEEDED = """
import torch
from torch import nn

def build(random_head):
    torch.manual_seed(0)
    # So many channels that some of any draw fire.
    first, head = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 1, 1)
    torch.seed()
    (head if random_head else first).reset_parameters()
    return nn.Sequential(first, nn.ReLU(), head)
"""


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("random_head", [False, True])
def test_a_function_with_random_weights_is_refused_where_they_reach_a_layer(
    tmp_path, monkeypatch, random_head, in_file
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("unseeded_model.py").write_text(UNSEEDED)
    architecture = {"function": "unseeded_model:build", "arguments": {"random_head": random_head}}
    flat = {"size": (4, 4), "interpolation": "bilinear", "mean": [0] * 3, "std": [1] * 3}
    weights = Weights(path="w.pt") if in_file else Weights(function=True)
    entry = Entry("model", "function", architecture, weights, preprocessing=flat)
    torch.save(build_module("net", entry).state_dict(), "w.pt")
    if in_file or random_head:
        assert [layer.name for layer in load("net", entry, Path("w.pt")).layers()] == ["1"]
    else:
        words = "net: its function gives another network .*first in layer 1. Its weights.*manual_s"
        with pytest.raises(ValueError, match=words):
            load("net", entry, Path("w.pt"))


def test_layer_patterns_that_match_nothing_are_refused_with_the_layers_there_are():
    entry = find_entry("dcgan-digiface")
    with pytest.raises(ValueError, match=r"'block.\*' matches no layer of m. Its 4.*main.2"):
        choose_layers("m", entry, load("m", entry), ["block.*"])


def test_a_loader_that_does_not_fit_the_role_is_refused(tmp_path):
    entry = find_entry("dcgan-digiface").to_mapping() | {"role": "model"}
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump({"m": entry}))
    with pytest.raises(ValueError, match="at m: loader 'dcgan' loads no model. .*timm"):
        read_entries(str(tmp_path / "zoo.yaml"))


def planned(layers, **settings):
    models = ["dcgan-digiface", "efficientnet-lite0"]
    text, _ = plan(
        models,
        ZOO,
        layers,
        10,
        dtype="float16",
        maps=Path("nowhere"),
        images_per_shard=32,
        **settings,
    )
    return text


def test_each_pattern_of_a_mixed_zoo_matches_some_model():
    assert "efficientnet-lite0" in planned(["main.*", "bn?.act"])
    with pytest.raises(ValueError, match=r"'Relu\*' matches no layer of any of dcgan-digi"):
        planned(["main.*", "bn?.act", "Relu*"])


def test_a_plan_counts_moments_and_tables_on_disk_and_those_of_each_split():
    disk = [
        float(re.search(r"store: all +about ([\d.]+) GB", planned("block", splits=n)).group(1))
        for n in (1, 2, 5)
    ]
    # 0.10 GB of moments and 0.04 of tables, and the maps of ten images
    assert disk == pytest.approx([0.15, 0.45, 0.89], abs=0.06)  # printed to 0.1


def test_an_entry_that_leaves_preprocessing_open_is_refused():
    known = {"size": (2, 2), "mean": (0, 0, 0), "std": (1, 1, 1)}
    with pytest.raises(ValueError, match="entry of net says nothing of interpolation"):
        preprocessing_of("net", Entry.from_mapping({}), known)


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
    mapping, path = local
    entry = Entry.from_mapping(mapping)
    assert weights_file("tiny", entry) == path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="weights.pt has sha256 .*, its entry says"):
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
    few = [latent(7, i, 5) for i in range(3)]
    np.testing.assert_array_equal(few[2], latent(7, 2, 5))
    assert not np.array_equal(few[0], few[1])
    assert not np.array_equal(few[0], latent(8, 0, 5))


def test_a_killed_dump_goes_on_where_it_stopped_with_the_same_result(local, tmp_path, monkeypatch):
    import yaml

    entry, _ = local
    zoo = tmp_path / "zoo.yaml"
    zoo.write_text(yaml.safe_dump({"tiny": entry}))
    samples = tmp_path / "samples.zarr"
    sampling.sample("tiny", str(zoo), 10, 0, samples, device="cpu")

    def dump(name):
        store = tmp_path / name
        dump_maps(
            "tiny", str(zoo), samples, "block", dtype="float16", images_per_shard=4, store=store
        )
        return MapReader(store)

    whole = dump("whole.zarr")
    written = []
    original = MapWriter.write

    def write_two_blocks(writer, block, maps):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(block)
        original(writer, block, maps)

    monkeypatch.setattr(MapWriter, "write", write_two_blocks)
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
        running.refuse_what_is_not_finite("net", "relu", maps, slice(32, 36))


def test_a_dump_that_the_disk_cannot_hold_is_refused_before_it_starts(tmp_path):
    with pytest.raises(ValueError, match="GB free"):
        refuse_what_does_not_fit(
            [((4096, 512, 512), "ReLU")], 10**6, "float16", tmp_path / "x.zarr"
        )
