"""Generators of the user's own, which a function in their code returns.

The entry has architecture: {function: "package.module:build", arguments: {...}}. The returned
module must have the attribute `latent_size`, and may have `classes` (default 0), `truncates`
(False), `latent_bound` (None for normal z) and `truncation_scales_z` (False); see
zoo.generators.generator.Generator. It is called with z (image, latent), then with labels (image) if
it has classes or truncates, then with the truncation if it truncates. It returns images
(image, rgb, y, x) in about [-1, 1].
"""

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.models.functions import (
    ANOTHER_NETWORK,
    SEED_OR_LOAD,
    TOLERANCE,
    build_module,
    kind_of,
)

IMAGES = 8  # number to test, enough that one of them has a dark pixel


def build(name: str, entry: Entry) -> nn.Module:
    """Call the user's function and return its module.

    Raises:
        ValueError: There is no such function, it fails, it returns no generator, or it loads
            weights itself that differ between two calls.
    """
    network = build_module(name, entry, takes="z (image, latent)")
    size = getattr(network, "latent_size", None)
    if not isinstance(size, int) or size < 1:
        raise UserError(
            f"{name}: the {type(network).__name__} of {entry.keywords['function']} has "
            f"latent_size {size!r}, expected the number of components of z: set it in the "
            "function (network.latent_size = 128)."
        )
    # A file of weights replaces them all. What a function draws beside them is seen by
    # activations.dump, which makes an image of the samples again.
    if entry.weights.function:
        again = build_module(name, entry)
        if changed := _different(network.state_dict(), again.state_dict()):
            raise UserError(
                f"{name}: {ANOTHER_NETWORK}: state dicts differ, first in {changed}. {SEED_OR_LOAD}"
            )
    return network


def _different(one: dict, other: dict) -> str | None:
    for key in [*one, *(key for key in other if key not in one)]:
        a, b = one.get(key), other.get(key)
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            if type(a) is not type(b):
                return key
        elif a.shape != b.shape or not torch.allclose(a, b.to(a), equal_nan=True):
            return key
    return None


def check(generator) -> None:
    """Test early that a user's generator can be mined.

    Args:
        generator: Generator with its weights.

    Raises:
        ValueError: The generator fails, returns no images in about [-1, 1], gives different images
            of the same z in two calls, or images that depend on the batch.
    """
    values = torch.Generator().manual_seed(0)
    z = torch.randn(IMAGES, generator.latent_size, generator=values)
    labels = torch.zeros(IMAGES, dtype=torch.long) if generator.classes else None

    def images(count: int) -> Tensor:
        some = None if labels is None else labels[:count]
        with torch.inference_mode():
            return generator.raw(z[:count], some, 1.0)

    name = generator.name
    try:
        together, again, one = images(IMAGES), images(IMAGES), images(1)
    except Exception as error:  # a user's module may raise anything
        given = "z, labels and truncation"[: 24 if generator.truncates else 13]
        given = given if generator.classes or generator.truncates else "z"
        raise UserError(
            f"{name}: its module fails when called with {given} of {IMAGES} images: "
            f"{type(error).__name__}: {error}"
        ) from error
    tensor = isinstance(together, Tensor)
    if not tensor or together.ndim != 4 or tuple(together.shape[:2]) != (IMAGES, 3):
        found = f"shape {tuple(together.shape)}" if tensor else kind_of(together)
        raise UserError(
            f"{name} returns {found} for {IMAGES} z, expected images ({IMAGES}, 3, y, x)."
        )
    least, most = (float(bound) for bound in together.float().aminmax())
    if not (least >= -2 and most <= 2 and least < 0):
        raise UserError(
            f"{name} returns images from {least:.3g} to {most:.3g}, expected about -1 to 1: scale "
            "them in the module (2 * image - 1 where they are in [0, 1])."
        )
    if not torch.allclose(together, again, 0, TOLERANCE):
        raise UserError(
            f"{name} makes two images of the same z, though the module is in eval mode: something "
            "in it is random. Samples and maps would be of different images."
        )
    if not torch.allclose(together[:1], one, 0, TOLERANCE):
        raise UserError(
            f"{name}: the image of a z depends on the other z of its batch, as with BatchNorm that "
            "keeps no running statistics."
        )
