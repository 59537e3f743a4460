"""Images of a generator, with the latents and labels that they were made from."""

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from rosetta_steps.runtime.budgets import image_blocks, images_at_once
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.generators.classes import class_names, labels
from rosetta_steps.zoo.generators.generator import Generator
from rosetta_steps.zoo.generators.latents import SEEDS, latent
from rosetta_steps.zoo.loading import load

IMAGES_PER_BLOCK = 32


def samples_of(
    generator: Generator,
    entry: Entry,
    images: int,
    seed: int,
    truncation: float = 1.0,
    chosen_class=None,
    latent_bound: float | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Latents, labels and images of a generator.

    Args:
        generator: With its weights.
        entry: Of it.
        images: How many.
        seed: Of the latents.
        truncation: psi of the family; 1 is none.
        chosen_class: Index or name, or a list of them taken in turn; None: all in turn.
        latent_bound: z is normal within -bound and bound; None: as its family publishes it.
        progress: Show a progress bar.

    Returns:
        `latent` (image, latent), `label` (image) where it has classes, `image` (image, rgb, y, x)
        float32 in [0, 1]; attributes generator, seed, truncation.

    Raises:
        ValueError: No such class, a truncation it does not know, a seed out of range, or images
            that are not finite or all the same.
    """
    if not 0 <= seed < SEEDS:
        raise UserError(
            f"seed {seed}: give one from 0 to {SEEDS - 1}, as beyond lie those of inversions."
        )
    name = generator.name
    generator.check(truncation)
    bound = generator.latent_bound if latent_bound is None else latent_bound
    latents = np.stack([latent(seed, i, generator.latent_size, bound) for i in range(images)])
    if generator.truncation_scales_z:
        latents *= np.float32(truncation)
    shown: dict[str, tuple] = {"latent": (("image", "latent"), latents)}
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
    with (
        torch.inference_mode(),
        tqdm(total=images, desc=f"sampling {name}", unit="image", disable=not progress) as bar,
    ):
        for block in blocks:
            given = None if indices is None else torch.from_numpy(indices[block])
            one = generator.generate(torch.from_numpy(latents[block]), given, truncation)
            made.append(one.cpu().numpy())
            bar.update(len(one))
    pictures = np.concatenate(made)
    refuse_useless_images(name, pictures)
    shown["image"] = (("image", "rgb", "y", "x"), pictures, {"long_name": "in [0, 1]"})
    return xr.Dataset(shown, attrs=attrs)


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
