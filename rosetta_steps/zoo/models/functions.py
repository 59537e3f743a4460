"""A model of the user's own: the module that a function of theirs returns.

Its entry has architecture: {function: "package.module:build", arguments: {...}}, and where it has
tokens, grid and prefix_tokens (zoo.layouts.tokens_from). Its weights are a file of its state dict,
or {function: true} where the function loads them itself. Other than a file of weights, a function
is code, and it is run.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.reading import load_weights
from rosetta_steps.zoo.entries import suggestion
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.hooks import ANY_MODULE
from rosetta_steps.zoo.layouts import HOW_TOKENS_LIE, Tokens, tokens_from
from rosetta_steps.zoo.models import timm_models
from rosetta_steps.zoo.models.architecture import read_architecture
from rosetta_steps.zoo.models.preprocessing import Preprocessing, no_images, preprocessing_of
from rosetta_steps.zoo.models.torch_models import Model
from rosetta_steps.zoo.proof import first_difference, refuse_unsteady_model
from rosetta_steps.zoo.protocols import ImageModel
from rosetta_steps.zoo.quick_imports import NoDraws

# Two passes over the same image may differ by rounding, which depends on the size of the batch
# (TF32 products: 1e-3). Relative to the largest value of a layer.
TOLERANCE = 1e-2
# Two networks of the same weights, given the same batch, differ by less.
TOLERANCE_OF_A_TWIN = 1e-3
KEYS = ("function", "arguments", "grid", "prefix_tokens")
ANOTHER_NETWORK = "its function gives another network at every call, and every job calls it"
SEED_OR_LOAD = (
    "Its weights are random: seed them in the function (torch.manual_seed(0)), or load them from a "
    "file."
)


def load(name: str, entry: Entry, weights: Path | None, device: str) -> ImageModel:
    """A model with its weights, or to ask for its layers where `weights` is None.

    Without weights the function runs under the meta device; where it or its module cannot (it reads
    values), it runs on the CPU as it is.

    Raises:
        ValueError: There is no such function, it fails or returns no module, the weights do not
            fit, or the module is not fit for the purpose: see `check`.
    """
    preprocessing = preprocessing_of(name, entry, {})
    if weights is None:
        return _without_values(name, entry, preprocessing)

    def built() -> Model:
        module = build_module(name, entry)
        if not entry.weights.function:
            load_weights(module, name, entry, weights)
        return _model(name, entry, module.to(device), preprocessing, device)

    model = built()
    check(model, _patterns_of(entry), built)
    return model


def hold(name: str, entry: Entry, weights: Path, device: str) -> None:
    """Call the function and load a file of weights into its module, without running it.

    Raises:
        ValueError: There is no such function, it fails or returns no module, or the weights do
            not fit.
    """
    load_weights(build_module(name, entry), name, entry, weights)


def build_module(
    name: str, entry: Entry, takes: str = "normalised images (image, rgb, y, x)"
) -> nn.Module:
    """The module that the function of an entry returns, in eval mode.

    Args:
        name: Of the model, for errors.
        entry: Of a generator or a model.
        takes: What the module is to take, for errors.

    Raises:
        ValueError: There is no such function, it fails, or it returns no module.
    """
    architecture = read_architecture(name, entry, KEYS, needed="function")
    function = _function(name, architecture["function"])
    arguments = architecture.get("arguments", {})
    try:
        module = function(**arguments)
    except Exception as error:  # whatever a user's function raises
        raise UserError(
            f"{name}: {architecture['function']} fails when called with {arguments}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise UserError(
            f"{name}: {architecture['function']} returns {kind_of(module)}, expected a "
            f"torch.nn.Module that takes {takes}."
        )
    remedy = (
        "has no Python modules to tap. Return the network before it was scripted, traced or "
        "exported, or write it as an ONNX file and use loader: onnx."
    )
    if isinstance(module, torch.jit.ScriptModule):
        raise UserError(
            f"{name}: {architecture['function']} returns TorchScript ({type(module).__name__}), "
            f"which {remedy}"
        )
    try:
        return module.eval()
    except Exception as error:  # whatever a user's module raises; an exported one does
        raise UserError(
            f"{name}: {architecture['function']} returns {kind_of(module)} that cannot be set to "
            f"eval mode ({type(error).__name__}: {error}). An exported program {remedy}"
        ) from error


def check(model: Model, patterns: list[str], build_again: Callable[[], Model]) -> None:
    """Refuse a module that cannot be mined, before a long run does.

    Args:
        model: With its weights.
        patterns: Of its presets.
        build_again: Calls its function a second time; with its weights too.

    Raises:
        ValueError: It fails on one image or on two, or in inference mode only; it has no layer;
            its maps are not steady (zoo.proof); or the function gives another network the second
            time.
    """
    values = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *model.preprocessing.size, generator=values)
    _refuse_what_does_not_run(model, image)
    names = _layers_of(model, patterns)
    refuse_unsteady_model(model, names, model.device)
    # Maps, not weights: those that reach no layer, as of a new head, may be random.
    once = model.activations(image, names)
    twin = build_again().activations(image, names)
    if changed := first_difference(once, twin, TOLERANCE_OF_A_TWIN):
        raise UserError(
            f"{model.name}: {ANOTHER_NETWORK}: maps differ, first in layer {changed}. "
            f"{SEED_OR_LOAD}"
        )


def _layers_of(model: Model, patterns: list[str]) -> list[str]:
    names = [layer.name for layer in model.layers()]
    any_module = [pattern for pattern in patterns if pattern.startswith(ANY_MODULE)]
    if any_module:
        names += [layer.name for layer in model.layers(any_module) if layer.name not in names]
    elif not names:
        model.layers(["*"])  # says what is wrong with the outputs of its activation modules
        kinds = sorted({type(child).__name__ for child in model.module.modules()})
        raise UserError(
            f"{model.name}: it has no activation module (its modules: {', '.join(kinds)[:300]}). A "
            "function such as torch.relu is no module and cannot be tapped: use nn.ReLU, give the "
            "module whose output it is the attribute nonlinearity = 'ReLU', or name a preset in "
            f"its entry whose patterns begin with '{ANY_MODULE}', which takes the output of any "
            f"module: layers: {{block: ['{ANY_MODULE}stage?']}}."
        )
    return names


def _refuse_what_does_not_run(model: Model, image: Tensor) -> None:
    def fails(images: Tensor, mode: Callable) -> Exception | None:
        with mode():
            try:
                model.module(model.preprocessing(images.to(model.device)))
            except Exception as error:  # whatever a user's module raises
                return error
        return None

    for images in (image, image.repeat(2, 1, 1, 1)):
        error = fails(images, torch.inference_mode)
        if error is None:
            continue
        where = f"on {len(images)} images of shape {tuple(images.shape[1:])} (rgb, y, x)"
        if fails(images, torch.no_grad) is None:
            where += " in inference mode (it runs under torch.no_grad)"
        narrow = {
            str(one.dtype).removeprefix("torch.")
            for one in model.module.parameters()
            if one.dtype in (torch.float16, torch.bfloat16)
        }
        remedy = (
            f". Its parameters are {' and '.join(sorted(narrow))}, and images are float32: call "
            ".float() on the module before the function returns it."
            if narrow
            else ""
        )
        raise UserError(
            f"{model.name}: its module fails {where}: {type(error).__name__}: {error}{remedy}"
        ) from error


def _without_values(name: str, entry: Entry, preprocessing: Preprocessing) -> Model:
    try:
        with torch.device("meta"), NoDraws(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights that cannot be copied to meta tensors
            module = build_module(name, entry)
        with torch.inference_mode():
            module(no_images(preprocessing.size))
        device = "meta"
    except Exception:  # whatever a user's module raises; on the CPU it may not
        module, device = build_module(name, entry), "cpu"
    model = _model(name, entry, module, preprocessing, device)
    if device == "cpu":
        _refuse_what_does_not_run(model, torch.zeros(1, 3, *preprocessing.size))
    _layers_of(model, _patterns_of(entry))
    return model


def _patterns_of(entry: Entry) -> list[str]:
    return [pattern for preset in entry.layers.values() for pattern in preset]


def _model(
    name: str, entry: Entry, module: nn.Module, preprocessing: Preprocessing, device: str
) -> Model:
    tokens = tokens_from(name, entry.keywords)
    if tokens == Tokens() and type(module).__module__.startswith("timm."):
        tokens = timm_models.tokens_of(module, preprocessing.size)
    return Model(name, module, preprocessing, device, tokens=tokens, remedy=HOW_TOKENS_LIE)


def _function(name: str, path: str) -> Callable:
    module_name, colon, function_name = path.partition(":")
    if not (module_name and colon and function_name):
        raise UserError(
            f"{name}: architecture.function is '{path}', expected 'package.module:build'."
        )
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` has it
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises
        raise UserError(
            f"{name}: {module_name} cannot be imported from {os.getcwd()}: "
            f"{type(error).__name__}: {error}"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        callables = [
            one for one in vars(module) if one[0] != "_" and callable(getattr(module, one))
        ]
        raise UserError(
            f"{name}: {module.__file__} has no function '{function_name}'. "
            + suggestion(function_name, callables)
        )
    return function


def kind_of(value: object) -> str:
    """What a user's code returned, in words with their article: "an int", "a tuple of int, str"."""
    kind = type(value).__name__
    if isinstance(value, tuple | list):
        return f"a {kind} of {', '.join(type(one).__name__ for one in value)}"
    if isinstance(value, type):
        return f"the class {value.__name__}, not an instance of it"
    # A name with u, such as UNet or UserDict, mostly begins with the sound of "you".
    return f"{'an' if kind[0] in 'aeioAEIO' else 'a'} {kind}"
