"""A generator and a model that are no torch modules: they are sampled and mined like the others."""

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from torch.nn import functional

from rosetta_steps.maps import running
from rosetta_steps.maps.copying import copy_maps
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.maps.sources import open_maps
from rosetta_steps.maps.streams import write_stream
from rosetta_steps.testing import check_source, entry_of, made
from rosetta_steps.zoo import proof
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.hooks import Layer
from rosetta_steps.zoo.models.preprocessing import Preprocessing

SIZE = (8, 12)


def given(maps, into):
    """What `activations` returns: the maps, or the tensors that they were copied into."""
    if into is None:
        return maps
    for name, values in into.items():
        values.copy_(maps[name])
    return dict(into)


class Waves:
    """A generator: each component of z is the strength of a wave, and three waves are colours."""

    name, device, autocast = "waves", "cpu", None
    latent_size, classes, latent_bound, truncation_scales_z = 3, 0, None, False

    def check(self, truncation):
        assert truncation == 1

    def waves(self, latents):
        y, x = torch.meshgrid(*(torch.linspace(0, 3, side) for side in SIZE), indexing="ij")
        waves = torch.stack([torch.cos(y * (k + 1) + x * k) for k in range(self.latent_size)])
        return latents[:, :, None, None] * waves

    def generate(self, latents, labels=None, truncation=1.0):
        return torch.sigmoid(self.waves(latents))

    def layers(self, patterns=None):
        return [Layer("waves", self.latent_size, SIZE, "none")]

    def activations(self, latents, layers, labels=None, truncation=1.0, into=None):
        return given({name: self.waves(latents) for name in layers}, into)


class Bright:
    """A model: how much brighter than grey each colour is, at half the size of the image."""

    name = "bright"
    preprocessing = Preprocessing(SIZE, "bilinear", (0.5,) * 3, (1.0,) * 3)

    def layers(self, patterns=None):
        return [Layer("bright", 3, (SIZE[0] // 2, SIZE[1] // 2), "ReLU")]

    def activations(self, images, layers, *, into=None):
        bright = functional.avg_pool2d(self.preprocessing(images), 2).relu()
        return given(dict.fromkeys(layers, bright), into)


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A zoo of both: steps take names, behind which there are these objects."""
    entries = {
        name: entry_of("function", {"function": "nowhere:build"}, {"function": True}, role)
        for name, role in (("waves", "generator"), ("bright", "model"))
    }
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump(entries))
    for module in (sampling, running, proof):
        monkeypatch.setattr(
            module, "load", lambda name, *_: {"waves": Waves, "bright": Bright}[name]()
        )
    return str(tmp_path / "zoo.yaml")


def test_samples_and_maps_of_what_is_no_torch_module(zoo, tmp_path):
    place = tmp_path / "samples.zarr"
    sampling.sample("waves", zoo, 6, 0, place, device="cpu")
    stored = xr.open_zarr(place)
    latents, images = (torch.from_numpy(stored[name].values) for name in ("latent", "image"))
    torch.testing.assert_close(images, Waves().generate(latents))
    expected = {
        "waves": Waves().activations(latents, ["waves"]),
        "bright": Bright().activations(images, ["bright"]),
    }
    for name, maps in expected.items():
        state = describe(name, zoo, place, "all", dtype="float16", images_per_shard=4)
        write_stream(Stream(state), tmp_path / f"{name}.json")
        stream = open_maps(tmp_path / f"{name}.json")
        check_source(stream)
        copy_maps(stream, 4, tmp_path / f"{name}.zarr", made("activations", name))
        for source in (stream, open_maps(tmp_path / f"{name}.zarr")):
            found = np.asarray(source.read(name, slice(0, 6)))
            np.testing.assert_array_equal(found, maps[name].half().numpy())
