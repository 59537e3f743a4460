"""Streams: models that run on a sample set and are read block by block like a store of maps.

Maps are rounded to the dtype of a store, so that results do not depend on whether maps are stored
or computed on the fly. The description of a stream (model, sample set, layers) is a JSON file,
written by rosetta_steps.streams.
"""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from rosetta_steps.config.names import split_untrained
from rosetta_steps.maps.resampling import Size
from rosetta_steps.runtime.budgets import image_blocks, images_at_once
from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.runtime.tf32 import rounding_as_set
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.digests import digest_of, sha256_of
from rosetta_steps.storage.manifests import (
    KEYS,
    Provenance,
    ingredients,
    manifest_path,
    read_manifest,
    step_that_writes,
)
from rosetta_steps.storage.portable import plain_attrs
from rosetta_steps.zoo.entries import entry_digest, find_entry
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.loading import choose_layers, load
from rosetta_steps.zoo.origin import origin_of
from rosetta_steps.zoo.proof import prove_layers
from rosetta_steps.zoo.protocols import ImageGenerator, ImageModel
from rosetta_steps.zoo.untrained import how_drawn
from rosetta_steps.zoo.weights import sha256_of_weights, weights_file

# Maximum difference between a regenerated image and the stored one: root mean square difference
# divided by the standard deviation of the stored values. Measured between float32 and float16
# (which rounds like TF32): 0.001; float32 and bfloat16: 0.011; different networks: 1.4 (StyleGAN2
# and DCGAN with random weights).
TOLERANCE, TOLERANCE_OF_AUTOCAST = 0.02, 0.1
# Minimum of that standard deviation, for images of hardly any contrast.
LEAST_DEVIATION = 0.02
# Entries of a stream's file that only serve plans; the maps do not depend on them.
SEEN = ("seconds_an_image", "weights_bytes")
STREAM = {"attrs": dict, "zoo": str, "images": int, "dtype": str, "layers": dict, "key": str}


# Bytes of the maps of one forward pass; on a CPU, larger passes are no faster.
PASS_BYTES = {"cpu": 0.15e9, "cuda": 2e9}


def describe(
    name: str,
    zoo: str | Path,
    samples: Path,
    layers: str | list[str],
    *,
    dtype: str,
    images_per_shard: int,
    device: str = "cpu",
) -> dict:
    """Describe a stream by a JSON-like dict, which holds everything its maps depend on.

    Args:
        name: Name of the model.
        zoo: Path of the YAML file with its entry.
        samples: Path of the sample set's store.
        layers: "all", a preset of the entry, or patterns of layer names.
        dtype: Dtype to which maps are rounded, "float16" or "float32".
        images_per_shard: Number of images in a file of a store, and maximum batch size.
        device: Device on which each layer's outputs are proven to be maps (zoo.proof).

    Raises:
        ValueError: The model, its weights or the layers cannot be used.
    """
    entry = find_entry(name, zoo)
    images = open_dataset(samples).sizes["image"]
    origin = origin_of(name, entry)
    model = load(name, entry)  # meta device: a pass costs almost nothing
    chosen = choose_layers(name, entry, model, layers)
    # An untrained network has the layers of the trained one, whatever its random weights do.
    chosen, left_out = prove_layers(
        split_untrained(name)[0], replace(entry, untrained=None), chosen, layers, device
    )
    attrs: dict[str, Any] = {"model": name, "samples": str(samples), "role": entry.role}
    if left_out:
        attrs["left_out"] = [f"{layer} {reason}" for layer, reason in left_out.items()]
    if entry.untrained is not None:
        attrs["weights"] = how_drawn(entry)
    if entry.role == "model":
        attrs["preprocessing"] = model.preprocessing.attrs()
    return {
        "attrs": plain_attrs(attrs),  # the same as in a store of these maps
        "zoo": str(zoo),
        "images": images,
        "dtype": dtype,
        "images_at_once": images_at_once(model.layers(), chosen, images_per_shard),
        "layers": {
            layer.name: {
                "channels": layer.channels,
                "size": list(layer.size),
                "nonlinearity": layer.nonlinearity,
            }
            for layer in chosen
        },
        "key": key_of(name, entry, samples),
        "sample_set": read_manifest(samples)["sample_set"],
        "made_of": ingredients([samples], origin),
    }


def key_of(name: str, entry: Entry, samples: Path) -> str:
    """Return the digests of entry, weights and sample set, on which the maps of a layer depend."""
    weights = sha256_of_weights(name, entry) or "weights loaded by the function"
    return " ".join([entry_digest(entry), weights, sha256_of(manifest_path(samples))])


class Stream:
    """Maps of a running model on a sample set, with the interface of a store's reader.

    The model is loaded when the first maps are read. The maps of the last block of images are kept,
    so that its layers can be read one after the other.

    Args:
        state: Description of the stream, as `describe` returns it.
        device: Device to compute on.
    """

    def __init__(self, state: dict, device: str = "cpu"):
        self.state, self.device = state, device
        self.attrs, self.images = state["attrs"], state["images"]
        self.sizes: dict[str, Size] = {
            name: tuple(layer["size"]) for name, layer in state["layers"].items()
        }
        self.channels = {name: layer["channels"] for name, layer in state["layers"].items()}
        self.dtype = np.dtype(state["dtype"])
        self.selected = self.layers
        self._loaded: tuple[ImageModel | ImageGenerator, xr.Dataset] | None = None
        self._block: slice | None = None
        self._maps: dict[str, Tensor] = {}
        self._reading = Lock()
        self._coming: dict[tuple[int, int], Future[dict[str, Tensor]]] = {}
        # One thread runs all passes, because a model must not run twice while hooks are registered.
        self._passes = ThreadPoolExecutor(1)

    @property
    def layers(self) -> list[str]:
        """Names of the layers in the order of the forward pass."""
        return list(self.sizes)

    def layer_attrs(self, layer: str) -> dict:
        """Return the attributes of a layer: model, layer, nonlinearity."""
        nonlinearity = self.state["layers"][layer]["nonlinearity"]
        return {"model": self.attrs["model"], "layer": layer, "nonlinearity": nonlinearity}

    def channels_per_read(self, layer: str) -> int:
        """Return the number of channels best read together: 1, as any selection costs the same."""
        return 1

    def select_layers(self, layers: Iterable[str]) -> None:
        """Announce which layers will be read, so that maps of other layers are not kept."""
        wanted = set(layers)
        self.selected = [name for name in self.layers if name in wanted]
        self._block, self._maps, self._coming = None, {}, {}

    def prefetch(self, block: slice) -> None:
        """Start computing the maps of a block of images in the background."""
        if (images := (block.start, block.stop)) not in self._coming:
            self._coming[images] = self._passes.submit(self._run, block)

    @property
    def at_once(self) -> int:
        """Number of images in a forward pass."""
        return self.images_per_read(PASS_BYTES[torch.device(self.device).type])

    def images_per_read(self, max_bytes: float) -> int:
        """Return how many images to read together, if possible in `max_bytes` bytes of maps."""
        fits = int(max_bytes // (self.dtype.itemsize * self.values))
        return max(1, min(self.state["images_at_once"], fits))

    @property
    def values(self) -> int:
        """Number of values of the selected layers for one image."""
        return sum(self.channels[name] * prod(self.sizes[name]) for name in self.selected)

    def read(
        self, layer: str, block: slice, channels: slice | Sequence[int] = slice(None)
    ) -> Tensor:
        """Return maps of a block of images, (image, channel, y, x), in the dtype of the stream.

        Raises:
            ValueError: Values are not finite, or a generator does not reproduce the images of the
                sample set.
        """
        with self._reading:
            if self._block != block:
                self._maps = {}
                self.prefetch(block)
                self._maps = self._coming.pop((block.start, block.stop)).result()
                self._block = block
            return self._maps[layer][:, channels]

    def _run(self, block: slice) -> dict[str, Tensor]:
        self.load()
        assert self._loaded is not None
        model, samples = self._loaded
        narrow, count = getattr(torch, self.dtype.name), block.stop - block.start
        maps = {
            name: torch.empty(
                count, self.channels[name], *self.sizes[name], dtype=narrow, device=self.device
            )
            for name in self.selected
        }
        for part in image_blocks(count, self.at_once):
            images = slice(block.start + part.start, block.start + part.stop)
            of_part = {name: whole[part] for name, whole in maps.items()}
            with nullcontext() if self.device == "cpu" else rounding_as_set():
                run_into(of_part, model, self.attrs["role"], samples, images)
            for name, found in of_part.items():
                refuse_what_is_not_finite(self.attrs["model"], name, found, images)
        return maps

    def load(self) -> None:
        """Load the model if it is not loaded yet.

        Raises:
            ValueError: The weights cannot be used, or a generator does not reproduce the images of
                the sample set.
        """
        if self._loaded is not None:
            return
        name, path = self.attrs["model"], Path(self.attrs["samples"])
        entry = find_entry(name, self.state["zoo"])
        # Opened without Dask arrays, which in a Dask worker would wait for the worker itself.
        samples = open_dataset(path)
        model = load(name, entry, weights_file(name, entry), self.device)
        if entry.role == "generator":
            refuse_another_network(model, samples, path)
        self._loaded = model, samples


def read_stream(path: Path) -> dict:
    """Read the description of a stream from its file.

    Raises:
        StoreError: The file is missing or damaged; a damaged file is removed.
    """
    path = Path(path)
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read ({error}). {step_that_writes(path)}.") from None
    keys = KEYS | STREAM
    whole = isinstance(state, dict) and all(isinstance(state.get(k), t) for k, t in keys.items())
    if not whole or state.get("digest") != digest_of_stream(state) or state["file"] != path.name:
        path.unlink()
        raise StoreError(
            f"{path} is damaged, or was written under another name, and was removed. "
            f"{step_that_writes(path)}."
        )
    return state


def digest_of_stream(state: dict) -> str:
    """Return the digest of a stream's description without the entries that only serve plans."""
    return digest_of({k: v for k, v in state.items() if k not in (*SEEN, "digest")})


def provenance_of(stream: "Stream", kind: str, made_of: dict, identity: str | None) -> Provenance:
    """Return the provenance of an artefact that is computed from the maps of a stream.

    Args:
        stream: The stream.
        kind: Kind of artefact, such as "activations".
        made_of: Names and digests of its other inputs.
        identity: Digest of the config settings that determine it (Provenance.identity).
    """
    state = stream.state
    together = state["made_of"] | made_of
    return Provenance(kind, [state["attrs"]["model"]], state["sample_set"], together, identity)


def run_into(
    maps: dict[str, Tensor],
    model: ImageModel | ImageGenerator,
    role: str,
    samples: xr.Dataset,
    block: slice,
) -> None:
    """Run a model on a block of images and copy the maps of some layers into given tensors.

    Args:
        maps: Tensor of each layer to fill, (image, channel, y, x); values are rounded to its dtype.
        model: Loaded model of the zoo.
        role: "generator", which is called with latents, labels and truncation, or "model", which is
            called with the images.
        samples: Dataset of the sample set.
        block: Block of images.
    """

    def given(variable: str):
        return torch.from_numpy(samples[variable][block].values)

    with torch.inference_mode():
        if role == "model":
            model.activations(given("image"), list(maps), into=maps)
            return
        labels = given("label") if "label" in samples else None
        truncation = samples.attrs["truncation"]
        generator = cast(ImageGenerator, model)
        generator.activations(given("latent"), list(maps), labels, truncation, maps)


def refuse_another_network(generator: ImageGenerator, images: xr.Dataset, samples: Path) -> None:
    """Raise a ValueError if a generator does not reproduce first and last image of a sample set.

    Maps and images would then belong to different networks: the weights are random or have changed.

    Args:
        generator: Generator of the zoo, with its weights.
        images: Dataset of the sample set that the generator should have produced.
        samples: Path of the sample set.
    """

    def stored(variable: str, image: int):
        return torch.from_numpy(images[variable][[image]].values)

    tolerance = TOLERANCE_OF_AUTOCAST if generator.autocast else TOLERANCE
    for image in sorted({0, images.sizes["image"] - 1}):
        label = stored("label", image) if "label" in images else None
        shown = stored("image", image)
        with torch.inference_mode():
            made = generator.generate(stored("latent", image), label, images.attrs["truncation"])
        found = f"shape {tuple(made.shape[1:])} instead of {tuple(shown.shape[1:])}"
        if made.shape == shown.shape:
            deviation = max(shown.std().item(), LEAST_DEVIATION)
            difference = (made.cpu() - shown).square().mean().sqrt().item() / deviation
            if difference <= tolerance:
                continue
            found = (
                f"root mean square difference {difference:.3g} of its standard deviation, from "
                f"rounding at most {tolerance}"
            )
        raise UserError(
            f"{generator.name} makes another image {image} than {samples} holds, of the same "
            f"latent ({found}): its weights or its code have changed since, or are random in every "
            f"process (seed them first). Delete {manifest_path(samples)} and run again: the "
            "samples are made anew."
        )


def refuse_what_is_not_finite(model: str, layer: str, maps: Tensor, block: slice) -> None:
    """Raise a ValueError if maps have NaN or infinite values; it names model, layer and images.

    Args:
        model: Name of the model.
        layer: Name of the layer.
        maps: Maps as they will be stored, (image, channel, y, x).
        block: Block of images that the maps belong to.
    """
    if torch.isfinite(torch.stack(torch.aminmax(maps))).all():
        return
    bad = (~torch.isfinite(maps)).any((1, 2, 3)).nonzero().ravel() + block.start
    images = ", ".join(str(int(image)) for image in bad[:10])
    dtype = str(maps.dtype).removeprefix("torch.")
    raise UserError(
        f"{model}, layer {layer}: values that are not finite in {dtype}, in images "
        f"{images}{', ...' if len(bad) > 10 else ''}. If float32 holds them, set dtype: float32 "
        "for this sample set; if not, the model or its input is broken."
    )
