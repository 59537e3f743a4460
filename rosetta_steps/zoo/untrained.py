"""Untrained networks: a model of the zoo with random weights, and all else as it is.

How weights are drawn depends on the loader. Where a library builds the architecture (a loader with
a function `initial`: timm, open_clip), they are what the library draws before training, and the
running statistics of batch norms are estimated anew. Of all others (ONNX files, functions), the
values of each weight tensor are shuffled within it, and every output channel of a convolution or a
matrix product keeps the mean and the standard deviation that it has with the trained weights: the
histogram of weights and how active a unit is stay, what it looks for does not.

Without either estimate the maps of a deep network saturate or die. Both are made on images of
random texture, so that an untrained network follows from its entry and its seed alone. (What is
kept of the weights decides what one compares with: Heap et al. 2025, arXiv 2501.17727.)
"""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.runtime.threads import one_thread
from rosetta_steps.zoo.entries import loader_module
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.rescaling import IMAGES, Moments, change_of, moments_of
from rosetta_steps.zoo.textures import textures

INITIAL = "initial"  # a loader's function: state dict of a new network


def randomise(model: Any, name: str, entry: Entry, weights: Path, device: str) -> Any:
    """Give a model random weights.

    Args:
        model: With its trained weights, on the CPU; it is changed.
        name: Its name, for errors.
        entry: Its entry; `untrained` is the seed.
        weights: Its file.
        device: To move it to.

    Returns:
        The model.

    Raises:
        ValueError: It has no weights that could be drawn.
    """
    seed, module = entry.untrained, importlib.import_module(loader_module(entry))
    assert seed is not None, "loading asks for it"
    # Every job draws the network again, and sums over images must have the same bits in each.
    with one_thread(), torch.no_grad():
        if entry.loader == "onnx":
            from rosetta_steps.zoo.models.onnx_weights import shuffle_model

            shuffle_model(model, entry, weights, seed)
            return model
        inputs = model.preprocessing(textures(IMAGES))
        if initial := getattr(module, INITIAL, None):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                state = initial(name, entry)
            model.module.load_state_dict(state)
            estimate_norms(model.module, inputs)
        else:
            shuffle(model.module, inputs, seed, name)
    model.module.to(device)
    model.device = device
    return model


def how_drawn(entry: Entry) -> str:
    """Return how the weights of an untrained copy are drawn, for the attributes of a stream."""
    if hasattr(importlib.import_module(loader_module(entry)), INITIAL):
        how = f"drawn by {entry.loader}, statistics of batch norms estimated anew"
    else:
        how = "shuffled within each tensor, channels with the moments of the trained weights"
    return f"{how}, seed {entry.untrained}"


def estimate_norms(module: nn.Module, inputs: Tensor) -> None:
    """Estimate the running statistics of batch norms anew, from one pass over some inputs.

    Args:
        module: In eval mode, as it is left.
        inputs: What it takes.
    """
    norms: list[Any] = [
        one
        for one in module.modules()
        if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.running_mean is not None
    ]
    if not norms:
        return
    before = [one.momentum for one in norms]
    for one in norms:
        one.reset_running_stats()
        one.momentum = None  # the mean of all batches: of the one
        one.train()
    try:
        module(inputs)
    finally:
        for one, momentum in zip(norms, before, strict=True):
            one.momentum = momentum
            one.eval()


def shuffle(module: nn.Module, inputs: Tensor, seed: int, name: str) -> None:
    """Shuffle the weights of a module; the outputs of its layers keep their mean and deviation.

    Args:
        module: With its trained weights.
        inputs: What it takes, for the mean and deviation of each channel.
        seed: Decides the order.
        name: Of the model, for errors.

    Raises:
        ValueError: It has no parameters of two dimensions or more.
    """
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    layers: list[Any] = [one for one in module.modules() if isinstance(one, kinds)]
    trained: dict[nn.Module, Moments | None] = {}

    def note(layer: nn.Module, _, output: Tensor) -> None:
        if layer not in trained:
            trained[layer] = moments_of(_rows(layer, output))

    with _hooks(layers, note):
        module(inputs)
    order = torch.Generator().manual_seed(seed)
    weights = [one for _, one in sorted(module.named_parameters()) if one.ndim > 1]
    if not weights:
        raise UserError(
            f"{name}: its module has no weights of two dimensions or more, so there is nothing to "
            "draw. Set untrained: 0, or take it out of the sample set's models."
        )
    for one in weights:
        values = one.flatten()
        one.copy_(values[torch.randperm(len(values), generator=order)].view_as(one))
    seen: set[nn.Module] = set()

    def correct(layer: Any, _, output: Tensor) -> Tensor | None:
        if layer in seen:
            return None
        seen.add(layer)
        change = change_of(moments_of(_rows(layer, output)), trained[layer])
        if change is None:
            return None
        scale, shift = (torch.from_numpy(one).to(output.dtype) for one in change)
        transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
        if transposed and layer.groups > 1:  # channels of a group lie together
            return None
        axis = 1 if transposed else 0
        layer.weight.mul_(scale.view([-1 if a == axis else 1 for a in range(layer.weight.ndim)]))
        old = 0 if layer.bias is None else layer.bias * scale
        layer.bias = nn.Parameter(old + shift)
        shape = [-1] + [1] * (output.ndim - 2) if isinstance(layer, kinds[0]) else [-1]
        return output * scale.view(shape) + shift.view(shape)

    with _hooks(layers, correct):
        module(inputs)


@contextlib.contextmanager
def _hooks(layers: list, function) -> Iterator[None]:
    handles = [layer.register_forward_hook(function) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _rows(layer: nn.Module, output: Tensor) -> np.ndarray:
    # (channel, value)
    axis = -1 if isinstance(layer, nn.Linear) else 1
    return output.movedim(axis, 0).flatten(1).double().numpy()
