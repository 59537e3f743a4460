"""Sample a generator: latents and the images made from them, exactly what the models are shown."""

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from tqdm import tqdm

from rosetta_steps.devices import lease
from rosetta_steps.errors import run
from rosetta_steps.stores import image_blocks, write_dataset
from rosetta_steps.zoo.entries import find_entry, loader_of
from rosetta_steps.zoo.weights import weights_file

IMAGES_PER_BLOCK = 32


def latent(seed: int, image: int, components: int) -> np.ndarray:
    """The standard normal z of one image, (latent) float32: it depends on these numbers alone."""
    stream = np.random.Philox(key=seed, counter=[0, 0, 0, image])
    return np.random.Generator(stream).standard_normal(components, dtype=np.float32)


def sample(name: str, zoo: str, images: int, seed: int, output: Path, device: str) -> None:
    """Write latents and images of a generator.

    Raises:
        ValueError: No such generator, or its weights cannot be had or do not fit.
    """
    import torch

    entry = find_entry(name, zoo)
    if entry["role"] != "generator":
        raise ValueError(f"{name} is no generator: {zoo} gives it the role '{entry['role']}'.")
    generator = loader_of(entry).load(name, entry, weights_file(name, entry), device)
    latents = np.stack([latent(seed, i, generator.latent_size) for i in range(images)])
    made = []
    with torch.inference_mode():
        for block in tqdm(image_blocks(images, IMAGES_PER_BLOCK), desc=f"sampling {name}"):
            made.append(generator.generate(torch.from_numpy(latents[block])).cpu().numpy())
    pictures = np.concatenate(made)
    samples = xr.Dataset(
        {
            "latent": (("image", "latent"), latents),
            "image": (("image", "rgb", "y", "x"), pictures, {"long_name": "in [0, 1]"}),
        },
        attrs={"generator": name, "seed": seed, "truncation": 1.0},
    )
    write_dataset(samples, output, {"image": {"chunks": (IMAGES_PER_BLOCK, *pictures.shape[1:])}})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Sample images from a generator.")
    parser.add_argument("--generator", required=True, help="name in the zoo")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--images", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()
    sample(a.generator, a.zoo, a.images, a.seed, a.output, lease())


if __name__ == "__main__":
    run(main)
