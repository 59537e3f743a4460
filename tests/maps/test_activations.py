"""What a dump follows from: the weights, and a generator that still makes the images it made."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from rosetta_steps.maps.running import refuse_another_network
from rosetta_steps.storage.manifests import manifest_path
from rosetta_steps.testing import dump_maps
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.generators.dcgan import DCGAN
from rosetta_steps.zoo.generators.generator import Generator
from rosetta_steps.zoo.generators.latents import latent
from rosetta_steps.zoo.generators.stylegan2 import StyleGAN2

SAMPLES = Path("samples.zarr")


def dcgan():
    return DCGAN(5, [4, 3])


def stylegan():
    return StyleGAN2(resolution=16, latent=8, w=8, channel_base=128, channel_max=16)


def generator(make, seed: int, autocast: str | None = None) -> Generator:
    """A network with weights of a seed."""
    torch.manual_seed(seed)
    return Generator("net", make(), "cpu", autocast)


def sampled(one: Generator, images: int = 3) -> xr.Dataset:
    """A sample set as sampling writes it."""
    z = np.stack([latent(0, image, one.latent_size) for image in range(images)])
    with torch.inference_mode():
        pictures = one.generate(torch.from_numpy(z)).numpy()
    values = {"latent": (("image", "z"), z), "image": (("image", "rgb", "y", "x"), pictures)}
    return xr.Dataset(values, attrs={"truncation": 1.0})


@pytest.mark.parametrize("make", [dcgan, stylegan])
def test_the_network_that_made_the_samples_is_accepted_and_another_refused(make):
    images = sampled(generator(make, 0))
    refuse_another_network(generator(make, 0), images, SAMPLES)
    with pytest.raises(ValueError, match="net makes another image 0 than samples.zarr holds, of"):
        refuse_another_network(generator(make, 1), images, SAMPLES)


def test_rounding_of_another_device_is_accepted():
    images, one = sampled(generator(stylegan, 0)), generator(stylegan, 0)
    with torch.no_grad():  # relative 2**-11, as TF32 and float16 round
        for weights in one.network.parameters():
            weights.mul_(1 + 2.0**-11 * torch.rand_like(weights).mul(2).sub(1))
    refuse_another_network(one, images, SAMPLES)


def test_the_precision_of_an_entry_is_accepted():
    images = sampled(generator(stylegan, 0, "bfloat16"))
    refuse_another_network(generator(stylegan, 0, "bfloat16"), images, SAMPLES)
    with pytest.raises(ValueError, match="makes another image 0"):
        refuse_another_network(generator(stylegan, 1, "bfloat16"), images, SAMPLES)


def test_the_last_image_is_looked_at_too():
    one = generator(stylegan, 0)
    images = sampled(one).copy(deep=True)
    images["image"][2] = images["image"][1]
    with pytest.raises(ValueError, match="another image 2"):
        refuse_another_network(one, images, SAMPLES)


def test_images_of_another_size_are_refused_by_their_shapes():
    def larger():
        return DCGAN(5, [4, 3, 3])

    images = sampled(generator(dcgan, 0))
    with pytest.raises(ValueError, match=r"shape \(3, 32, 32\) instead of \(3, 16, 16\)"):
        refuse_another_network(generator(larger, 0), images, SAMPLES)


def test_maps_on_disk_are_kept_for_the_same_weights_file_only(tmp_path):
    torch.manual_seed(0)
    weights, zoo, samples = (tmp_path / name for name in ("w.pt", "zoo.yaml", "s.zarr"))
    torch.save(dcgan().state_dict(), weights)
    entry = {"role": "generator", "loader": "dcgan", "source": "test", "licence": "MIT"}
    entry |= {"architecture": {"latent": 5, "channels": [4, 3]}, "weights": {"path": str(weights)}}
    zoo.write_text(yaml.safe_dump({"tiny": entry}))
    sampling.sample("tiny", str(zoo), 2, 0, samples, device="cpu")
    maps = tmp_path / "maps.zarr"
    dump_maps("tiny", str(zoo), samples, "all", dtype="float16", images_per_shard=2, store=maps)
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert sha256 in json.loads(manifest_path(maps).read_text())["key"]
