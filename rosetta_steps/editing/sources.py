"""Latents to begin with: samples of a generator, or what an inversion or an edit has written."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.zoo.entries import entry_digest
from rosetta_steps.zoo.entry import Entry


@dataclass(frozen=True)
class Source:
    """Some latents of a store.

    Attributes:
        latents: (image, ...), of the space.
        labels: Class indices (image) int64; None where there are no classes.
        space: z, w or w+.
        truncation: psi with which they give their images.
        images: Their numbers in the store.
    """

    latents: Tensor
    labels: Tensor | None
    space: str
    truncation: float
    images: list[int]

    def part(self, chosen: slice | np.ndarray) -> "Source":
        """Some of the images, by a slice or a mask."""
        labels = None if self.labels is None else self.labels[chosen]
        numbers = np.array(self.images)[chosen].tolist()
        return replace(self, latents=self.latents[chosen], labels=labels, images=numbers)


def read_source(path: Path, generator: str, entry: Entry, images: Sequence[int] | None) -> Source:
    """Read latents of a generator.

    Args:
        path: Store with `latent` and, where there are classes, `label`.
        generator: Whose latents they must be.
        entry: Its entry.
        images: Numbers of images, each once; None: all but those on which every start of the
            optimisation that made them failed, which are named on stderr.

    Raises:
        ValueError: It has no latents, they are another generator's, there is no such image, or
            every start of an image failed.
    """
    store = open_dataset(path)
    if "latent" not in store:
        raise UserError(
            f"{path} has no latents, only {', '.join(map(str, store.data_vars))}: only what a "
            "generator has made can be edited. Invert these images first."
        )
    made_by = store.attrs.get("generator")
    if made_by != generator:
        raise UserError(
            f"{path} holds latents of {made_by or 'an unknown generator'}, not of {generator}: "
            f"give --generator {made_by} and its matches, or another source."
        )
    digest = store.attrs.get("generator_digest")
    if digest not in (None, entry_digest(entry)):
        raise UserError(
            f"{path} was made with another {generator}: its entry, its weights or its network have "
            "changed since. Write the source again."
        )
    count = store.sizes["image"]
    chosen = list(dict.fromkeys(range(count) if images is None else images))
    if missing := [image for image in chosen if not 0 <= image < count]:
        raise UserError(f"{path} has images 0 to {count - 1}, not {', '.join(map(str, missing))}.")
    failed = _failed(store)
    if broken := [image for image in chosen if image in failed]:
        words = f"the loss of every start of image {', '.join(map(str, broken))} was not finite"
        chosen = [image for image in chosen if image not in broken]
        if images is not None or not chosen:
            raise UserError(f"{path}: {words}: choose other images, or write the source again.")
        print(f"{path}: {words}; left out.", file=sys.stderr)
    labels = None
    if "label" in store:
        labels = torch.from_numpy(store["label"].values[chosen].astype(np.int64))
    return Source(
        torch.tensor(store["latent"].values[chosen]),
        labels,
        store.attrs.get("space", "z"),
        float(store.attrs.get("truncation", 1.0)),
        chosen,
    )


def _failed(store: xr.Dataset) -> list[int]:
    """Images of which no start came to an end: what is kept of them is no result."""
    if "failed" not in store:
        return []
    failed = store["failed"].values >= 0
    return np.flatnonzero(failed.reshape(len(failed), -1).all(1)).tolist()
