"""What gives the maps of a model block by block, and how it is opened."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from rosetta_steps.maps.running import Stream, key_of, read_stream
from rosetta_steps.maps.store import MapReader
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.digests import sha256_of
from rosetta_steps.storage.manifests import (
    manifest_path,
    step_that_writes,
)
from rosetta_steps.zoo.entries import find_entry


class MapSource(Protocol):
    """The maps of a model on the images of a sample set, read block by block.

    maps.store.MapReader reads them from a store, maps.running.Stream runs the model. What gives
    these is mined like either of them.

    Attributes:
        state: JSON-like: `name` of the artefact, `sample_set`, and `made_of`, the digests of all
            that it was made of (storage.manifests.ingredients).
        attrs: `model` and what else is said of the maps.
        images: How many.
        sizes: Of each layer (y, x), in the order of the forward pass.
        channels: Of each layer, how many.
        device: Where maps lie when they have been read, "cpu" or "cuda".
    """

    state: dict
    attrs: dict
    images: int
    sizes: dict[str, tuple[int, int]]
    channels: dict[str, int]
    device: str

    @property
    def layers(self) -> list[str]:
        """Names of the layers in the order of the forward pass."""

    @property
    def dtype(self) -> np.dtype:
        """Of the maps, float16 or float32."""

    def layer_attrs(self, layer: str) -> dict:
        """What is said of a layer: model, layer, nonlinearity."""

    def grain(self, layer: str) -> int:
        """Channels of a layer that had better be read together."""

    def images_together(self, size: float) -> int:
        """Images that had better be read together, their maps in so many bytes if possible."""

    def tap(self, layers: Iterable[str]) -> None:
        """Say which layers will be read, so that the maps of no other need be kept."""

    def prepare(self, block: slice) -> None:
        """Say which images will be read next, so that their maps may be made beside other work."""

    def read(
        self, layer: str, block: slice, channels: slice = slice(None)
    ) -> np.ndarray | torch.Tensor:
        """Activations of some images, (image, channel, y, x), on `device`.

        Raises:
            ValueError: They cannot be had, or are not finite.
        """


def is_stream(path: Path) -> bool:
    """Whether a path is that of a stream (.json); else it is that of a store."""
    return Path(path).suffix == ".json"


def open_maps(path: Path) -> MapSource:
    """A store of activations, or a stream (.json).

    Raises:
        StoreError: The store is damaged or not finished; or what a stream runs has changed.
    """
    path = Path(path)
    if not is_stream(path):
        return MapReader(path)
    state = read_stream(path)
    name, samples = state["attrs"]["model"], Path(state["attrs"]["samples"])
    if state["key"] != key_of(name, find_entry(name, state["zoo"]), samples):
        raise StoreError(
            f"{path}: the weights, the code or the images of {name} have changed since it was "
            f"written. {step_that_writes(path)}."
        )
    return Stream(state, "cuda" if torch.cuda.is_available() else "cpu")


def identity_of(path: Path) -> str:
    """What the maps of a source follow from; empty where there is none."""
    path = Path(path)
    if is_stream(path):
        return read_stream(path)["digest"] if path.is_file() else ""
    return sha256_of(manifest_path(path)) if manifest_path(path).is_file() else ""
