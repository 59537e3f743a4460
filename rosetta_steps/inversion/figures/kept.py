"""Latents of a stored inversion: where the kept starts began, came by and ended."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from rosetta_steps.inversion.latents import Latents
from rosetta_steps.inversion.settings import Settings, settings_named
from rosetta_steps.zoo.protocols import TorchGenerator


def settings_of(store: xr.Dataset) -> Settings:
    """Settings that an inversion was made with."""
    return settings_named(store.attrs)


def space_of(store: xr.Dataset, generator: TorchGenerator, images: Sequence[int]) -> Latents:
    """The space of some images of an inversion, with their classes."""
    settings, labels = settings_of(store), None
    if "label" in store:
        labels = torch.from_numpy(store["label"].values[list(images)].astype(np.int64))
    return Latents(generator, settings.space, labels, settings.truncation)


def first_latents(store: xr.Dataset, space: Latents, images: Sequence[int]) -> Tensor:
    """The random latents that the kept starts of some images began with, (image, ...)."""
    seed, starts = settings_of(store).seed, store["start"].values
    parts = []
    for place, image in enumerate(images):
        one = space.of(torch.tensor([place], device=space.generator.device))
        parts.append(one.random(seed, [image], int(starts[image])))
    return torch.cat(parts)


def last_latents(store: xr.Dataset, space: Latents, images: Sequence[int]) -> Tensor:
    """The results of some images, (image, ...)."""
    latents = np.stack([store["latent"][image].values for image in images])
    return torch.from_numpy(latents).to(space.generator.device)
