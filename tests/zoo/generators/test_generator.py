"""What a sample set asks of a generator: latents, classes and truncation, and what it refuses."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from safetensors.torch import save_file

from rosetta_steps.maps.store import MapReader
from rosetta_steps.runtime.budgets import images_at_once
from rosetta_steps.testing import dump_maps
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.generators.biggan_deep import BigGANDeep
from rosetta_steps.zoo.generators.classes import labels
from rosetta_steps.zoo.generators.dcgan import DCGAN
from rosetta_steps.zoo.generators.generator import Generator
from rosetta_steps.zoo.generators.latents import SEEDS, latent
from rosetta_steps.zoo.generators.samples import refuse_useless_images
from rosetta_steps.zoo.generators.stylegan2 import StyleGAN2
from rosetta_steps.zoo.hooks import Layer
from rosetta_steps.zoo.loading import load

EYES = {"classes": ["blue", "green"]}


@pytest.fixture
def zoo(tmp_path):
    """Write the weights of a network and its entry into a zoo of one."""

    def write(network: torch.nn.Module, loader: str, architecture: dict, **entry) -> str:
        weights = tmp_path / "weights.pt"
        torch.save(entry.pop("tensors", network.state_dict()), weights)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        entry |= {"role": "generator", "loader": loader, "architecture": architecture}
        entry |= {"source": "test", "licence": "MIT"}
        entry["weights"] = {"path": str(weights), "sha256": digest}
        (tmp_path / "zoo.yaml").write_text(yaml.safe_dump({"tiny": entry}))
        return str(tmp_path / "zoo.yaml")

    return write


@pytest.fixture
def eyes(zoo):
    """A conditional DCGAN of two classes, and its zoo."""
    torch.manual_seed(0)
    architecture = {"latent": 5, "channels": [4, 3], "classes": 2}
    network = DCGAN(**architecture).eval()
    return network, zoo(network, "dcgan", architecture, **EYES)


@pytest.fixture
def cat(zoo):
    """A StyleGAN2 of 8 pixels, its architecture, and the function that makes its zoo."""
    torch.manual_seed(0)
    architecture = {"resolution": 8, "latent": 6, "w": 6, "channel_base": 64, "channel_max": 8}
    network = StyleGAN2(**architecture).eval()
    torch.nn.init.normal_(network.mapping.w_avg)
    return network, architecture, zoo


def test_a_sample_set_shows_all_classes_in_turn_or_those_it_names(eyes, tmp_path):
    _, zoo = eyes
    sampling.sample("tiny", zoo, 5, 0, tmp_path / "all.zarr", device="cpu")
    samples = xr.open_zarr(tmp_path / "all.zarr")
    assert samples.label.values.tolist() == [0, 1, 0, 1, 0]
    assert json.loads(samples.attrs["classes"]) == {"0": "blue", "1": "green"}
    sampling.sample("tiny", zoo, 3, 0, tmp_path / "one.zarr", device="cpu", chosen_class="green")
    assert xr.open_zarr(tmp_path / "one.zarr").label.values.tolist() == [1, 1, 1]


def test_images_and_maps_of_a_class_are_those_of_the_network(eyes, tmp_path):
    network, zoo = eyes
    sampling.sample("tiny", zoo, 5, 7, tmp_path / "s.zarr", device="cpu")
    samples = xr.open_zarr(tmp_path / "s.zarr")
    z, label = (torch.from_numpy(samples[v].values) for v in ("latent", "label"))
    with torch.inference_mode():
        expected = (network(z, label) + 1) / 2
    torch.testing.assert_close(torch.from_numpy(samples["image"].values), expected)
    dump_maps(
        "tiny",
        zoo,
        tmp_path / "s.zarr",
        "all",
        dtype="float32",
        images_per_shard=2,
        store=tmp_path / "a.zarr",
    )
    first = torch.cat([z, torch.nn.functional.one_hot(label, 2)], 1)[:, :, None, None]
    with torch.inference_mode():
        maps = network.main[:3](first)
    stored = MapReader(tmp_path / "a.zarr").read("main.2", slice(0, 5))
    np.testing.assert_allclose(stored, maps, atol=1e-6)


def test_a_class_may_be_an_index_a_name_or_one_of_several_names():
    imagenet = find_entry("biggan-deep-256")
    chosen = [0, "Tench", "tinca TINCA", "briard", "226", "tabby cat"]
    assert labels("g", imagenet, 1000, chosen, 6).tolist() == [0, 0, 0, 226, 226, 281]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ("tensh", "g has no class 'tensh'. Did you mean 'tench'"),
        (1000, "g has classes 0 to 999, not 1000"),
        (-1, "g has classes 0 to 999, not -1"),
    ],
)
def test_a_class_that_does_not_exist_is_refused(chosen, words):
    with pytest.raises(ValueError, match=words):
        labels("g", find_entry("biggan-deep-256"), 1000, chosen, 1)


def test_a_class_of_a_generator_without_classes_is_refused():
    with pytest.raises(ValueError, match="g has no classes: leave out class: 3"):
        labels("g", Entry.from_mapping({}), 0, 3, 1)


def test_truncation_of_a_generator_without_statistics_is_refused(eyes, tmp_path):
    _, zoo = eyes
    words = "tiny cannot be truncated: a DCGAN has no mean of w.*Leave out truncation: 0.7.$"
    with pytest.raises(ValueError, match=words):
        sampling.sample("tiny", zoo, 2, 0, tmp_path / "s.zarr", device="cpu", truncation=0.7)


def test_truncation_moves_w_to_its_mean_and_is_stored(cat, tmp_path):
    network, architecture, zoo = cat
    path = zoo(network, "stylegan2", architecture)
    sampling.sample("tiny", path, 2, 0, tmp_path / "s.zarr", device="cpu", truncation=0.5)
    samples = xr.open_zarr(tmp_path / "s.zarr")
    assert samples.attrs["truncation"] == 0.5
    z = torch.from_numpy(samples.latent.values)
    mean = network.mapping.w_avg
    with torch.inference_mode():
        w = mean + 0.5 * (network.mapping(z) - mean)
        expected = ((network.synthesis(w) + 1) / 2).clamp(0, 1)
    np.testing.assert_allclose(samples["image"].values, expected, atol=1e-6)


def test_a_stylegan_without_the_mean_of_w_runs_and_refuses_truncation(cat, tmp_path):
    network, architecture, zoo = cat
    tensors = {k: v for k, v in network.state_dict().items() if k != "mapping.w_avg"}
    path = zoo(network, "stylegan2", architecture, tensors=tensors)
    sampling.sample("tiny", path, 2, 0, tmp_path / "s.zarr", device="cpu")
    words = "tiny cannot be truncated: its checkpoint has no mapping.w_avg.*use one that has"
    with pytest.raises(ValueError, match=words):
        sampling.sample("tiny", path, 2, 0, tmp_path / "t.zarr", device="cpu", truncation=0.7)


def test_truncation_of_a_module_of_the_users_asks_for_an_attribute():
    module = torch.nn.Linear(2, 3)
    module.latent_size = 2
    with pytest.raises(ValueError, match="mine cannot be truncated: .*truncates = True"):
        Generator("mine", module, "cpu").check(0.5)


def test_a_biggan_without_rows_to_choose_from_is_refused():
    with pytest.raises(ValueError, match="rows: 1, but truncations 0 and 1 have a row each"):
        BigGANDeep(channels=[8, 4], attention=None, rows=1)


def test_tensors_of_other_names_are_taken_by_their_order_where_the_entry_says_so(cat):
    network, architecture, zoo = cat
    own = network.state_dict()
    renamed = {f"part{i}": tensor for i, tensor in enumerate(own.values())}
    entry = find_entry("tiny", zoo(network, "stylegan2", architecture, tensors=renamed))
    with pytest.raises(ValueError, match="No name is the same.* write keys: by_order into the"):
        load("tiny", entry, zoo_weights(entry))
    entry = replace(entry, keys="by_order")
    generator = load("tiny", entry, zoo_weights(entry))
    torch.testing.assert_close(generator.network.state_dict(), own, rtol=0, atol=0)
    renamed.popitem()
    entry = find_entry("tiny", zoo(network, "stylegan2", architecture, tensors=renamed))
    entry = replace(entry, keys="by_order")
    with pytest.raises(
        ValueError, match=f"has {len(own) - 1} tensors, the architecture {len(own)}"
    ):
        load("tiny", entry, zoo_weights(entry))


def test_a_safetensors_file_has_no_order_to_take_tensors_by(cat, tmp_path):
    network, architecture, _ = cat
    save_file(network.state_dict(), tmp_path / "sorted.safetensors")
    entry = Entry("generator", "stylegan2", architecture, Weights(), keys="by_order")
    with pytest.raises(ValueError, match="keys: by_order, but .* sorts its"):
        load("tiny", entry, tmp_path / "sorted.safetensors")


def test_a_checkpoint_of_another_resolution_is_refused_by_key_and_shape(cat):
    network, architecture, zoo = cat
    path = zoo(network, "stylegan2", architecture | {"resolution": 16})
    entry = find_entry("tiny", path)
    with pytest.raises(ValueError, match=r"tiny: .*missing.*synthesis\.b16"):
        load("tiny", entry, zoo_weights(entry))


def zoo_weights(entry):
    from pathlib import Path

    return Path(entry.weights.path)


def test_latents_within_a_bound_follow_the_truncated_normal():
    z = np.stack([latent(0, image, 200, bound=1.0) for image in range(100)])
    assert np.abs(z).max() <= 1
    assert abs(z.std() - 0.5396) < 0.005  # of a normal within -1 and 1
    np.testing.assert_array_equal(z[3], latent(0, 3, 200, bound=1.0))


def test_autocast_changes_maps_a_little_and_not_their_type(cat):
    network, architecture, _ = cat
    z = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    whole = Generator("g", network, "cpu").generate(z)
    fast = Generator("g", network, "cpu", "bfloat16").generate(z)
    assert fast.dtype == torch.float32
    assert 0 < (fast - whole).abs().max() < 0.05


def test_few_images_go_through_at_once_where_maps_are_large():
    small, large = Layer("a", 8, (4, 4), "ReLU"), Layer("b", 1024, (512, 512), "ReLU")
    assert images_at_once([small], [small], 32) == 32
    assert images_at_once([small, large], [small], 32) == 1


def test_images_that_are_all_the_same_or_not_finite_are_refused(eyes, tmp_path):
    network, zoo = eyes
    with pytest.raises(
        ValueError, match="all 4 images of tiny are the same: nothing varies .*bound"
    ):
        # As no config may say: z is 0 but for the last bits, and not for these images.
        sampling.sample(
            "tiny",
            zoo,
            4,
            0,
            tmp_path / "s.zarr",
            device="cpu",
            truncation=1.0,
            chosen_class="green",
            latent_bound=1e-300,
        )
    assert not (tmp_path / "s.zarr").exists()
    bad = np.zeros((3, 3, 2, 2))
    bad[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite in 1 of 3 images, first in image 1"):
        refuse_useless_images("tiny", bad)


def test_seeds_of_samples_end_where_those_of_random_starts_begin(eyes, tmp_path):
    from rosetta_steps.inversion.latents import STARTS

    assert SEEDS == STARTS
    for seed in (-1, STARTS, 2**130):
        with pytest.raises(ValueError, match=f"seed {seed}: give one from 0 to 4294967295"):
            sampling.sample("tiny", eyes[1], 2, seed, tmp_path / "s.zarr", device="cpu")
    sampling.sample("tiny", eyes[1], 2, STARTS - 1, tmp_path / "s.zarr", device="cpu")
