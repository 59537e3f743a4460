"""Sample sets of a generator: images with the latents and labels they were generated from."""

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from rosetta_steps.runtime.budgets import image_blocks, images_at_once
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.generators.classes import class_names, labels
from rosetta_steps.zoo.generators.latents import SEEDS, latent
from rosetta_steps.zoo.protocols import ImageGenerator

IMAGES_PER_BLOCK = 32


def samples_of(
    generator: ImageGenerator,
    entry: Entry,
    images: int,
    seed: int,
    *,
    truncation: float = 1.0,
    chosen_class=None,
    latent_bound: float | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Generate the latents, labels and images of a sample set.

    Args:
        generator: Generator with its weights.
        entry: Entry of the generator.
        images: Number of images.
        seed: Seed of the latents.
        truncation: Truncation psi; 1 means no truncation.
        chosen_class: Index or name of a class, or a list of them that is cycled through; None for
            all in turn.
        latent_bound: Bound within which z is normal; None for that of the generator's family.
        progress: Whether to show a progress bar.

    Returns:
        Dataset with `latent` (image, latent), `label` (image) if there are classes, and `image`
        (image, rgb, y, x) float32 in [0, 1]; its attributes include generator, seed, truncation.

    Raises:
        ValueError: The class does not exist, the truncation is not supported, the seed is out of
            range, or the images are not finite or all equal.
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
    # One more image costs less than a pass without values, for which torch imports its compiler.
    blocks = image_blocks(images, images_at_once(generator.layers(), [], IMAGES_PER_BLOCK))
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
    """Refuse images that are not finite or all equal, with which nothing can correlate.

    Args:
        name: Name of the generator.
        images: Images (image, rgb, y, x).

    Raises:
        ValueError: The images are useless; the message says what to check.
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
