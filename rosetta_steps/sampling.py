"""Sample a generator: latents and the images made from them, exactly what the models are shown."""

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from tqdm import tqdm

from rosetta_steps.runtime.budgets import image_blocks, images_at_once
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError, run
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import Provenance, add_identity_argument
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.generators.classes import class_names, labels
from rosetta_steps.zoo.generators.latents import SEEDS, latent
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.origin import origin_of
from rosetta_steps.zoo.weights import weights_file

IMAGES_PER_BLOCK = 32


def sample(
    name: str,
    zoo: str,
    images: int,
    seed: int,
    output: Path,
    device: str,
    truncation: float = 1.0,
    chosen_class=None,
    latent_bound: float | None = None,
    identity: str | None = None,
) -> None:
    """Write latents, labels and images of a generator.

    Args:
        name: Of the generator.
        zoo: File with its entry.
        images: How many.
        seed: Of the latents.
        output: X.zarr to write.
        device: "cpu" or "cuda".
        truncation: psi of the family; 1 is none.
        chosen_class: Index or name, or a list of them taken in turn; None: all in turn.
        latent_bound: z is normal within -bound and bound; None: as its family publishes it.
        identity: As Provenance has it.

    Raises:
        ValueError: No such generator or class, a truncation it does not know, weights that cannot
            be had or do not fit, or images that are not finite or all the same.
    """
    import torch

    entry = find_entry(name, zoo)
    if entry["role"] != "generator":
        raise UserError(f"{name} is no generator: {zoo} gives it the role '{entry['role']}'.")
    if not 0 <= seed < SEEDS:
        raise UserError(
            f"seed {seed}: give one from 0 to {SEEDS - 1}, as beyond lie those of inversions."
        )
    generator = load(name, entry, weights_file(name, entry), device)
    generator.check(truncation)
    bound = generator.latent_bound if latent_bound is None else latent_bound
    latents = np.stack([latent(seed, i, generator.latent_size, bound) for i in range(images)])
    if generator.truncation_scales_z:
        latents *= np.float32(truncation)
    shown = {"latent": (("image", "latent"), latents)}
    attrs = {"generator": name, "seed": seed, "truncation": truncation}
    indices = None
    if generator.classes or chosen_class is not None:
        indices = labels(name, entry, generator.classes, chosen_class, images)
        names = class_names(entry)
        shown["label"] = (("image",), indices, {"long_name": "class index"})
        attrs["classes"] = {str(i): names[i] for i in np.unique(indices)} if names else {}
    found = load(name, entry).layers()  # without values: a pass costs next to nothing
    blocks = image_blocks(images, images_at_once(found, [], IMAGES_PER_BLOCK))
    made = []
    with torch.inference_mode(), tqdm(total=images, desc=f"sampling {name}", unit="image") as bar:
        for block in blocks:
            given = None if indices is None else torch.from_numpy(indices[block])
            one = generator.generate(torch.from_numpy(latents[block]), given, truncation)
            made.append(one.cpu().numpy())
            bar.update(len(one))
    pictures = np.concatenate(made)
    refuse_useless_images(name, pictures)
    shown["image"] = (("image", "rgb", "y", "x"), pictures, {"long_name": "in [0, 1]"})
    chunks = (min(images, IMAGES_PER_BLOCK), *pictures.shape[1:])
    provenance = Provenance(
        "samples", sample_set=output.stem, made_of=origin_of(name, entry), identity=identity
    )
    dataset = xr.Dataset(shown, attrs=attrs)
    write_dataset(dataset, output, provenance, {"image": {"chunks": chunks}})


def refuse_useless_images(name: str, images: np.ndarray) -> None:
    """Refuse images that are not finite or all the same, with which nothing correlates.

    Args:
        name: Of the generator.
        images: (image, rgb, y, x).

    Raises:
        ValueError: With what to look at.
    """
    bad = [i for i, image in enumerate(images) if not np.isfinite(image).all()]
    if bad:
        raise UserError(
            f"{name} makes values that are not finite in {len(bad)} of {len(images)} images, first "
            f"in image {bad[0]}. Its weights or its code are broken."
        )
    if len(images) > 1 and all(np.array_equal(images[0], image) for image in images[1:]):
        raise UserError(
            f"all {len(images)} images of {name} are the same: nothing varies that could "
            "correlate. Look at latent_bound, truncation and class of the sample set, and at the "
            "weights."
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Sample images from a generator.")
    parser.add_argument("--generator", required=True, help="name in the zoo")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--images", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--truncation", type=float, default=1.0, help="psi, default %(default)s")
    parser.add_argument(
        "--classes", nargs="+", help="indices or names, taken in turn; default: all of them"
    )
    parser.add_argument(
        "--latent-bound", type=float, help="z is normal within it; default: as published"
    )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()
    sample(
        a.generator,
        a.zoo,
        a.images,
        a.seed,
        a.output,
        lease(),
        truncation=a.truncation,
        chosen_class=a.classes,
        latent_bound=a.latent_bound,
        identity=a.identity,
    )


if __name__ == "__main__":
    run(main)
