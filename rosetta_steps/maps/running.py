"""A model that runs on the images of a sample set, read block by block as a store of maps is.

Maps are rounded as a store would hold them, so that what follows from them is the same. What runs
on what is written down as JSON, a stream (rosetta_steps.streams).
"""

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

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
from rosetta_steps.zoo.weights import sha256_of_weights, weights_file

# How far an image made again may lie from the stored one: root mean square of the difference, over
# the standard deviation of its values. Between float32 and float16, which rounds as TF32 does:
# 0.001; bfloat16: 0.011; another network: 1.4 (StyleGAN2 and DCGAN with random weights).
TOLERANCE, TOLERANCE_OF_AUTOCAST = 0.02, 0.1
# For images of hardly any contrast.
LEAST_DEVIATION = 0.02
# What the file of a stream says besides, for plans: nothing follows from it.
SEEN = ("seconds_an_image", "weights_bytes")
STREAM = {"attrs": dict, "zoo": str, "images": int, "dtype": str, "layers": dict, "key": str}


# On a processor, larger passes are no faster.
PASS_BYTES = {"cpu": 0.15e9, "cuda": 2e9}


def describe(
    name: str,
    zoo: str | Path,
    samples: Path,
    layers: str | list[str],
    dtype: str,
    images_per_shard: int,
    device: str = "cpu",
) -> dict:
    """What a stream is: JSON-like, and all that a dump of it follows from.

    Args:
        name: Of the model.
        zoo: File with its entry.
        samples: Store of the images.
        layers: "all", a preset of the entry, or patterns.
        dtype: To which maps are rounded.
        images_per_shard: Images that go together, in a file of a dump and through the model.
        device: On which the layers are proven to be maps.

    Raises:
        ValueError: Bad model, weights or layers.
    """
    entry = find_entry(name, zoo)
    images = open_dataset(samples).sizes["image"]
    origin = origin_of(name, entry)
    model = load(name, entry)  # without values a pass for the layers costs next to nothing
    chosen = choose_layers(name, entry, model, layers)
    chosen, left_out = prove_layers(name, entry, chosen, layers, device)
    attrs: dict[str, Any] = {"model": name, "samples": str(samples), "role": entry.role}
    if left_out:
        attrs["left_out"] = [f"{layer} {reason}" for layer, reason in left_out.items()]
    if entry.role == "model":
        attrs["preprocessing"] = model.preprocessing.attrs()
    return {
        "attrs": plain_attrs(attrs),  # as a store of the same maps has them
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
    """What the maps follow from, besides the layers."""
    weights = sha256_of_weights(name, entry) or "weights loaded by the function"
    return " ".join([entry_digest(entry), weights, sha256_of(manifest_path(samples))])


class Stream:
    """The maps of a running model on a sample set, read as those of a store are.

    The model is loaded when the first maps are read. The maps of the images read last are kept, so
    that their layers may be read one after the other.

    Args:
        state: As `describe` gives it.
        device: To compute on.
        progress: Told the number of images after every pass.
    """

    def __init__(
        self, state: dict, device: str = "cpu", progress: Callable[[int], None] = lambda _: None
    ):
        self.state, self.device, self.progress = state, device, progress
        self.attrs, self.images = state["attrs"], state["images"]
        self.sizes: dict[str, Size] = {
            name: tuple(layer["size"]) for name, layer in state["layers"].items()
        }
        self.channels = {name: layer["channels"] for name, layer in state["layers"].items()}
        self.dtype = np.dtype(state["dtype"])
        self.tapped = self.layers
        self._loaded: tuple[Any, xr.Dataset] | None = None
        self._block: slice | None = None
        self._maps: dict[str, Tensor] = {}
        self._reading = Lock()
        self._coming: dict[tuple[int, int], Future[dict[str, Tensor]]] = {}
        # All passes in one thread, one after the other: a model is tapped while it runs.
        self._passes = ThreadPoolExecutor(1)

    @property
    def layers(self) -> list[str]:
        """Names of the layers in the order of the forward pass."""
        return list(self.sizes)

    def layer_attrs(self, layer: str) -> dict:
        """What a store says of a layer."""
        nonlinearity = self.state["layers"][layer]["nonlinearity"]
        return {"model": self.attrs["model"], "layer": layer, "nonlinearity": nonlinearity}

    def grain(self, layer: str) -> int:
        """Channels of a layer that had better be read together: one is as cheap as all."""
        return 1

    def tap(self, layers: Iterable[str]) -> None:
        """Say which layers will be read, so that the maps of no other are kept."""
        wanted = set(layers)
        self.tapped = [name for name in self.layers if name in wanted]
        self._block, self._maps, self._coming = None, {}, {}

    def prepare(self, block: slice) -> None:
        """Begin to make the maps of images that will be read next, beside other work."""
        if (images := (block.start, block.stop)) not in self._coming:
            self._coming[images] = self._passes.submit(self._run, block)

    @property
    def at_once(self) -> int:
        """Images of a pass."""
        return self.images_together(PASS_BYTES[torch.device(self.device).type])

    def images_together(self, size: float) -> int:
        """Images that had better be read together, their maps in so many bytes if possible."""
        fits = int(size // (self.dtype.itemsize * self.values))
        return max(1, min(self.state["images_at_once"], fits))

    @property
    def values(self) -> int:
        """Of the tapped layers on an image."""
        return sum(self.channels[name] * prod(self.sizes[name]) for name in self.tapped)

    def read(
        self, layer: str, block: slice, channels: slice | Sequence[int] = slice(None)
    ) -> Tensor:
        """Activations of some images, (image, channel, y, x) in the dtype of a store.

        Raises:
            ValueError: Values that are not finite, or a generator that does not make the images of
                the sample set.
        """
        with self._reading:
            if self._block != block:
                self._maps = {}
                self.prepare(block)
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
            for name in self.tapped
        }
        for part in image_blocks(count, self.at_once):
            images = slice(block.start + part.start, block.start + part.stop)
            of_part = {name: whole[part] for name, whole in maps.items()}
            with nullcontext() if self.device == "cpu" else rounding_as_set():
                run_into(of_part, model, self.attrs["role"], samples, images)
            for name, found in of_part.items():
                refuse_what_is_not_finite(self.attrs["model"], name, found, images)
            self.progress(part.stop - part.start)
        return maps

    def load(self) -> None:
        """Load the model, unless that is done.

        Raises:
            ValueError: Bad weights, or a generator that does not make the images of the sample set.
        """
        if self._loaded is not None:
            return
        name, path = self.attrs["model"], Path(self.attrs["samples"])
        entry = find_entry(name, self.state["zoo"])
        # No Dask arrays: in a Dask worker they would wait for the worker itself.
        samples = open_dataset(path)
        model = load(name, entry, weights_file(name, entry), self.device)
        if entry.role == "generator":
            refuse_another_network(model, samples, path)
        self._loaded = model, samples


def read_stream(path: Path) -> dict:
    """What a stream is, from its file.

    Raises:
        StoreError: There is no such file, or it is damaged.
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
    """What the maps of a stream follow from: its state, but for what is there for plans alone."""
    return digest_of({k: v for k, v in state.items() if k not in (*SEEN, "digest")})


def provenance_of(stream: "Stream", kind: str, made_of: dict, identity: str | None) -> Provenance:
    """Where something comes from that is made of the maps of a stream.

    Args:
        stream: The model on its images.
        kind: Of artefact, such as "activations".
        made_of: What it is made of besides.
        identity: As Provenance has it.
    """
    state = stream.state
    together = state["made_of"] | made_of
    return Provenance(kind, [state["attrs"]["model"]], state["sample_set"], together, identity)


def run_into(maps: dict[str, Tensor], model, role: str, samples: xr.Dataset, block: slice) -> None:
    """Run a model on a block of a sample set and fill in the maps of some layers.

    Args:
        maps: Of each layer (image, channel, y, x), to which they are rounded.
        model: Of the zoo.
        role: "generator", which is given latents, labels and truncation, or "model", which is given
            the images.
        samples: The sample set.
        block: Which images.
    """

    def given(variable: str):
        return torch.from_numpy(samples[variable][block].values)

    with torch.inference_mode():
        if role == "model":
            model.activations(given("image"), list(maps), into=maps)
            return
        labels = given("label") if "label" in samples else None
        truncation = samples.attrs["truncation"]
        model.activations(given("latent"), list(maps), labels, truncation, maps)


def refuse_another_network(generator, images: xr.Dataset, samples: Path) -> None:
    """Raise a ValueError if a generator does not make the first and the last image of a sample set.

    Maps and images would be of two networks: random weights, or weights changed since.

    Args:
        generator: Of the zoo, with its weights.
        images: The sample set that it is said to have made.
        samples: Its path.
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
    """Raise a ValueError that names model, layer and images with NaN or infinite values.

    Args:
        model: Its name.
        layer: Its name.
        maps: (image, channel, y, x) as it will be stored.
        block: Which images these are.
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
