"""Build a model of the zoo, and choose its layers: what every step begins with."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entries import layer_patterns, loader_module, no_layer_matches
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.layer_names import refuse_impossible_names
from rosetta_steps.zoo.weights import is_unread, remember

if TYPE_CHECKING:  # they import torch, which a job that only fetches weights does not need
    from rosetta_steps.zoo.hooks import Layer
    from rosetta_steps.zoo.protocols import ImageGenerator, ImageModel


def load(name: str, entry: Entry, weights: Path | None = None, device: str = "cpu"):
    """A generator or a model, with its weights or without values on the meta device.

    With its weights, an untrained network is given random ones (zoo.untrained).

    Raises:
        ValueError: It cannot be built, or the weights do not fit.
    """
    build = importlib.import_module(loader_module(entry)).load
    if weights is None:
        return build(name, entry, weights, device)
    with _first_reading(entry, weights):
        if entry.untrained is None:
            return build(name, entry, weights, device)
        from rosetta_steps.zoo.untrained import randomise

        trained = build(name, entry, weights, device if entry.loader == "onnx" else "cpu")
        return randomise(trained, name, entry, weights, device)


def hold(name: str, entry: Entry, weights: Path) -> None:
    """Open weights and hold them against their entry, as load does; nothing is computed with them.

    For the job that fetches them, so that what does not fit shows before anything is sampled.

    Args:
        name: Of the model.
        entry: Of the model.
        weights: As zoo.weights.weights_file returned it.

    Raises:
        ValueError: They cannot be read, or do not fit.
    """
    if entry.weights.function:
        return
    module = importlib.import_module(loader_module(entry))
    # A function's module is checked by running it, which is for the machine that runs the model.
    opened = getattr(module, "hold", module.load)
    with _first_reading(entry, weights):
        opened(name, entry, weights, "cpu")


@contextlib.contextmanager
def _first_reading(entry: Entry, weights: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if is_unread(entry, weights) and "cannot be read" in str(error):
            raise UserError(
                f"{error} It was fetched and never loaded before: if it broke off on its way, "
                f"delete it (rm '{weights}') and run again."
            ) from None
        raise
    remember(entry, weights)


def choose_layers(
    name: str,
    entry: Entry,
    model: "ImageModel | ImageGenerator",
    layers: str | list[str],
) -> "list[Layer]":
    """Layers of a model (zoo.hooks.Layer), in the order of the forward pass.

    Args:
        name: Of the model.
        entry: Of the model.
        model: As load returned it.
        layers: "all", the name of a preset of the entry, or patterns.

    Raises:
        ValueError: The model has no such preset, nothing matches (the layers there are), or a layer
            has a name that no store can hold.
    """
    patterns = layer_patterns(entry, layers, name)
    chosen = model.layers(patterns)
    if not chosen:
        raise UserError(no_layer_matches(patterns, name, [one.name for one in model.layers()]))
    refuse_impossible_names(name, [layer.name for layer in chosen])
    return chosen
