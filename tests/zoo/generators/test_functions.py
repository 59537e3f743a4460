"""Generators a user brings as a function, and what is refused of them."""

import textwrap

import pytest
import torch
import xarray as xr
import yaml

from rosetta_steps.testing import dump_maps
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.models.functions import build_module

GOOD = """
    import torch
    from torch import nn

    class Net(nn.Module):
        latent_size = 4
        classes = {classes}

        def __init__(self):
            super().__init__()
            self.first = nn.ConvTranspose2d(4, 6, 4)
            self.act = nn.ReLU()
            self.last = nn.ConvTranspose2d(6, 3, 2, 2)

        def forward(self, z, labels=None):
            if labels is not None:
                z = z * (1 + labels[:, None])
            x = self.act(self.first(z[:, :, None, None]))
            return {returned}

    def build(seed=0):
        torch.manual_seed(seed)
        return {built}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module of the user's own, and its entry into a zoo of one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, returned="torch.tanh(self.last(x))", built="Net()", classes=0, **entry):
        code = GOOD.format(returned=returned, built=built, classes=classes)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        entry = {"weights": {"function": True}} | entry
        entry |= {"role": "generator", "loader": "function"}
        entry |= {"source": "test", "licence": "MIT"}
        entry["architecture"] = {"function": f"{name}:build", "arguments": {"seed": 1}}
        (tmp_path / "zoo.yaml").write_text(yaml.safe_dump({"mine": entry}))
        return str(tmp_path / "zoo.yaml")

    return write


def test_a_function_of_the_users_is_sampled_and_tapped(own, tmp_path):
    zoo = own("good")
    sampling.sample("mine", zoo, 3, 0, tmp_path / "s.zarr", device="cpu")
    assert xr.open_zarr(tmp_path / "s.zarr")["image"].shape == (3, 3, 8, 8)
    (layer,) = load("mine", find_entry("mine", zoo)).layers()
    assert (layer.name, layer.channels, layer.size) == ("act", 6, (4, 4))


def test_a_conditional_one_is_given_labels(own, tmp_path):
    zoo = own("conditional", classes=2)
    entry = find_entry("mine", zoo)
    generator = load("mine", entry, tmp_path)
    z = torch.ones(2, 4)
    one, other = generator.generate(z, torch.tensor([0, 1]))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(
    ("case", "changes", "words"),
    [
        (
            "own_none",
            {"built": "None"},
            "own_none:build returns a NoneType, expected a torch.nn.Module",
        ),
        ("own_number", {"built": "3"}, "own_number:build returns an int, expected a torch.nn"),
        (
            "own_other",
            {"built": "(torch.seed(), Net())[1]"},
            "mine: its function gives another network at every call.*first in first.weight. .*seed",
        ),
        (
            "own_plain",
            {"built": "nn.ReLU()"},
            "the ReLU of own_plain:build has latent_size None, expected",
        ),
        (
            "own_flat",
            {"returned": "x.mean(1)"},
            "mine returns shape .8, 4, 4. for 8 z, expected images",
        ),
        (
            "own_unit",
            {"returned": "torch.sigmoid(self.last(x))"},
            "mine returns images from 0.*expected about -1",
        ),
        (
            "own_random",
            {"returned": "torch.tanh(9 * self.last(x) - 2 + torch.randn(1))"},
            "two images of the",
        ),
        (
            "own_batch",
            {"returned": "torch.tanh(self.last(x) - 9 * x.mean(0)[:3].mean())"},
            "other z of",
        ),
        (
            "own_fails",
            {"returned": "self.last(z)"},
            "mine: its module fails when called with z of 8",
        ),
    ],
)
def test_what_is_no_generator_is_refused(own, tmp_path, case, changes, words):
    zoo = own(case, **changes)
    with pytest.raises(ValueError, match=words):
        sampling.sample("mine", zoo, 2, 0, tmp_path / "s.zarr", device="cpu")
    assert not (tmp_path / "s.zarr").exists()


def test_random_weights_that_a_file_replaces_are_no_fault(own, tmp_path):
    path = tmp_path / "weights.pt"
    zoo = own("replaced", built="(torch.seed(), Net())[1]", weights={"path": str(path)})
    module = build_module("mine", find_entry("mine", zoo))
    torch.manual_seed(0)
    torch.save({name: torch.randn_like(value) for name, value in module.state_dict().items()}, path)
    one, other = (load("mine", find_entry("mine", zoo), path) for _ in range(2))
    z = torch.ones(2, 4)
    torch.testing.assert_close(one.generate(z), other.generate(z))


def test_a_generator_that_changed_since_it_was_sampled_is_not_dumped(own, tmp_path, monkeypatch):
    """The seed comes from outside: what an unseeded network is from process to process."""
    built = "(torch.manual_seed(int(__import__('os').environ['SEED'])), Net())[1]"
    zoo, samples, maps = own("unseeded", built=built), tmp_path / "s.zarr", tmp_path / "maps.zarr"
    monkeypatch.setenv("SEED", "1")
    sampling.sample("mine", zoo, 3, 0, samples, device="cpu")
    monkeypatch.setenv("SEED", "2")
    words = "mine makes another image 0 than .*s.zarr holds.*Delete .*s.zarr.done.json"
    with pytest.raises(ValueError, match=words):
        dump_maps("mine", zoo, samples, "all", dtype="float32", images_per_shard=2, store=maps)
    assert not maps.exists()
    monkeypatch.setenv("SEED", "1")
    dump_maps("mine", zoo, samples, "all", dtype="float32", images_per_shard=2, store=maps)
    assert maps.exists()


def test_a_generator_of_another_entry_than_the_samples_were_made_with_is_refused(own, tmp_path):
    zoo, samples, maps = own("changed"), tmp_path / "s.zarr", tmp_path / "maps.zarr"
    sampling.sample("mine", zoo, 3, 0, samples, device="cpu")
    entry = find_entry("mine", zoo)
    for seed, name in ((2, "changed"), (1, "same")):
        entry.keywords["arguments"]["seed"] = seed
        other = tmp_path / f"{name}.yaml"
        other.write_text(yaml.safe_dump({"mine": entry.to_mapping()}))
        if name == "changed":
            with pytest.raises(ValueError, match="s.zarr .* two versions of entry of mine"):
                dump_maps(
                    "mine",
                    str(other),
                    samples,
                    "all",
                    dtype="float32",
                    images_per_shard=2,
                    store=maps,
                )
            assert not maps.exists()
        else:
            dump_maps(
                "mine", str(other), samples, "all", dtype="float32", images_per_shard=2, store=maps
            )
            assert maps.exists()
