"""Build a model of the zoo, and choose its layers: what every step begins with."""

import importlib
from pathlib import Path

from rosetta_steps.zoo.entries import layer_patterns, loader_module, no_layer_matches
from rosetta_steps.zoo.layer_names import refuse_impossible_names


def load(name: str, entry: dict, weights: Path | None = None, device: str = "cpu"):
    """A generator or a model, with its weights or without values on the meta device.

    Raises:
        ValueError: It cannot be built, or the weights do not fit.
    """
    return importlib.import_module(loader_module(entry)).load(name, entry, weights, device)


def choose_layers(name: str, entry: dict, model, layers: str | list[str]) -> list:
    """Layers of a model (zoo.taps.Layer), in the order of the forward pass.

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
        raise ValueError(no_layer_matches(patterns, name, [one.name for one in model.layers()]))
    refuse_impossible_names(name, [layer.name for layer in chosen])
    return chosen
