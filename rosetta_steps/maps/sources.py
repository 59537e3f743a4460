"""The protocol of map sources, read block by block, and the function that opens one."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rosetta_steps.maps.store import MapReader
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.digests import sha256_of
from rosetta_steps.storage.manifests import (
    manifest_path,
    step_that_writes,
)
from rosetta_steps.zoo.entries import find_entry

# Only a model that runs needs torch, which takes two seconds to import.
if TYPE_CHECKING:
    from torch import Tensor


class MapSource(Protocol):
    """Protocol of objects that give the maps of a model on a sample set, block by block.

    Two classes implement it: maps.store.MapReader reads a store, maps.running.Stream runs the
    model. An object of any other class that implements it can be mined too.

    Attributes:
        state: JSON-like dict with `name` of the artefact, `sample_set`, and `made_of`, the digests
            of everything it was made of (storage.manifests.ingredients).
        attrs: Attributes of the maps; `model` is required.
        images: Number of images.
        sizes: Height and width of the maps of each layer, in the order of the forward pass.
        channels: Number of channels of each layer.
        device: Device of the maps that `read` returns, "cpu" or "cuda".
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
        """Dtype of the maps, float16 or float32."""

    def layer_attrs(self, layer: str) -> dict:
        """Return the attributes of a layer: model, layer, nonlinearity."""

    def channels_per_read(self, layer: str) -> int:
        """Return the number of channels of a layer that are best read together."""

    def images_per_read(self, max_bytes: float) -> int:
        """Return how many images to read together, if possible in `max_bytes` bytes of maps."""

    def select_layers(self, layers: Iterable[str]) -> None:
        """Announce which layers will be read, so that maps of other layers need not be kept."""

    def prefetch(self, block: slice) -> None:
        """Announce which images will be read next, so that maps can be computed ahead."""

    def read(
        self, layer: str, block: slice, channels: slice = slice(None)
    ) -> "np.ndarray | Tensor":
        """Return maps of a block of images, (image, channel, y, x), on `device`.

        Raises:
            ValueError: The maps cannot be read or computed, or are not finite.
        """


def is_stream(path: Path) -> bool:
    """Whether a path is that of a stream (.json) rather than of a store."""
    return Path(path).suffix == ".json"


def prepare(maps: Iterable[Path], threads: int) -> None:
    """Lease a device where maps are computed, hide all where they are only read; set threads.

    Args:
        maps: Stores and streams of a job.
        threads: That torch may use.
    """
    lease(count=int(any(is_stream(path) for path in maps)))
    import torch

    torch.set_num_threads(threads)


def open_maps(path: Path) -> MapSource:
    """Open a store of activations (.zarr) or a stream (.json).

    Raises:
        StoreError: The store is damaged or not finished; or entry, weights, code or images of a
            stream have changed since its file was written.
    """
    path = Path(path)
    if not is_stream(path):
        return MapReader(path)
    import torch

    from rosetta_steps.maps.running import Stream, key_of, read_stream

    state = read_stream(path)
    name, samples = state["attrs"]["model"], Path(state["attrs"]["samples"])
    if state["key"] != key_of(name, find_entry(name, state["zoo"]), samples):
        raise StoreError(
            f"{path}: the weights, the code or the images of {name} have changed since it was "
            f"written. {step_that_writes(path)}."
        )
    return Stream(state, "cuda" if torch.cuda.is_available() else "cpu")


def identity_of(path: Path) -> str:
    """Return a digest of everything the maps of a source depend on; "" if there is no source."""
    path = Path(path)
    if is_stream(path):
        from rosetta_steps.maps.running import read_stream

        return read_stream(path)["digest"] if path.is_file() else ""
    return sha256_of(manifest_path(path)) if manifest_path(path).is_file() else ""
