"""Forward hooks that collect the activation maps of a torch module while it runs.

A layer is one call of a module. Its name is the module's dotted name; further calls of the same
module are called name#1, name#2. A plain pattern matches post-activation layers; a pattern that
starts with `module:` matches the output of any module. A map is copied when it is computed, before
an in-place operation can overwrite it.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.layouts import Reader, Source, channel_axis
from rosetta_steps.zoo.quick_imports import without_compiler

Result = TypeVar("Result")

ANY_MODULE = "module:"
NO_NONLINEARITY = "none"

# Units are read after one of these. Sigmoid and Tanh are left out: they make gates and images.
NONLINEARITIES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Hardswish,
)
# Matched by class name, because timm and open_clip define their own, not always as a subclass.
NAMES = {kind.__name__ for kind in NONLINEARITIES} | {
    "GELUTanh",
    "HardMish",
    "HardMishMe",
    "HardSwish",
    "HardSwishMe",
    "MishMe",
    "QuickGELU",
    "SquaredReLU",
    "StarReLU",
    "Swish",
    "SwishMe",
}


@dataclass(frozen=True)
class Layer:
    """Name and shape of one layer's maps, and the nonlinearity before them or "none"."""

    name: str
    channels: int
    size: tuple[int, int]
    nonlinearity: str


def nonlinearity_of(module: nn.Module) -> str | None:
    """Return the name of the nonlinearity whose output a module returns; None if there is none.

    This is the class name of an activation module, or a module's string attribute `nonlinearity`
    (set by StyleGAN layers, which end in a leaky ReLU).
    """
    own = getattr(module, "nonlinearity", None)
    if isinstance(own, str):
        return own
    return type(module).__name__ if _is_nonlinearity(module) else None


def _is_nonlinearity(module: nn.Module) -> bool:
    return isinstance(module, NONLINEARITIES) or type(module).__name__ in NAMES


def layers_of(
    module: nn.Module,
    run: Callable[[], object],
    patterns: Sequence[str] | None = None,
    reader: Reader | None = None,
    left_out: dict[str, str] | None = None,
) -> list[Layer]:
    """Return the layers of a module that match patterns, in the order of the forward pass.

    A plain pattern skips outputs without spatial position: maps of one position (such as the gate
    of a squeeze-and-excitation block) and outputs that are no maps.

    Args:
        module: Module whose submodules get hooks. One forward pass finds the layers; on the meta
            device it costs nothing.
        run: Function that calls the module.
        patterns: Patterns of layer names in the syntax of fnmatch; see the head of this file. None
            matches all post-activation layers and raises no error if there are none.
        reader: Reader that turns an output into a map; by default an output in four dimensions is
            one.
        left_out: Dict that is filled with matching outputs that are no maps, and the reasons.

    Raises:
        ValueError: A pattern matches only outputs that are no maps; the message lists them with
            reasons.
    """
    reader = reader or Reader()
    if any(parameter.is_meta for parameter in module.parameters()):
        # A module that asks the compiler for more than this passes again, with the compiler.
        with contextlib.suppress(AttributeError, ImportError), without_compiler():
            return _layers_of(module, run, patterns, reader, left_out)
    return _layers_of(module, run, patterns, reader, left_out)


def _layers_of(
    module: nn.Module,
    run: Callable[[], object],
    patterns: Sequence[str] | None,
    reader: Reader,
    left_out: dict[str, str] | None,
) -> list[Layer]:
    choice = Choice(patterns)
    inside = _inside_nonlinearities(module)
    anything = any(pattern.startswith(ANY_MODULE) for pattern in choice.patterns)

    def keep(name: str, source: Source, output: object) -> None:
        unit = source.nonlinearity is not None and source.module not in inside
        if choice.matching(name, unit):
            choice.see(name, unit, source.nonlinearity, reader.read(output, source))

    _record(module, run, lambda _, child: anything or nonlinearity_of(child) is not None, keep)
    if left_out is not None:
        left_out |= choice.no_maps
    return choice.layers(reader.remedy)


class Choice:
    """Selection of layers by patterns from the outputs of a forward pass."""

    def __init__(self, patterns: Sequence[str] | None):
        self.patterns = ("*",) if patterns is None else tuple(patterns)
        self._may_be_empty = patterns is None
        self._layers: dict[str, Layer] = {}
        self._left_out: dict[str, str] = {}
        self.no_maps: dict[str, str] = {}  # of these, all except maps of one position
        self._fruitful: dict[str, bool] = {}  # by pattern: whether a matching output is a map

    def matching(self, name: str, unit: bool) -> list[str]:
        """Return the patterns that match an output; plain ones require a nonlinearity (`unit`)."""
        return [
            pattern
            for pattern in self.patterns
            if (unit or pattern.startswith(ANY_MODULE)) and _matches(name, pattern)
        ]

    def see(self, name: str, unit: bool, nonlinearity: str | None, maps: Tensor | str) -> None:
        """Record an output: its maps (image, channel, y, x), or the reason why it is no map."""
        one_position = not isinstance(maps, str) and tuple(maps.shape[2:]) == (1, 1)
        for pattern in self.matching(name, unit):
            reason = None
            if isinstance(maps, str):
                reason = self.no_maps[name] = maps
            elif one_position and not pattern.startswith(ANY_MODULE):
                reason = f"has one position only ({ANY_MODULE}{name} takes it all the same)"
            else:
                y, x = maps.shape[2:]
                kind = nonlinearity or NO_NONLINEARITY
                self._layers[name] = Layer(name, maps.shape[1], (y, x), kind)
            self._fruitful[pattern] = self._fruitful.get(pattern, False) or reason is None
            if reason is not None:
                self._left_out[name] = reason

    def layers(self, remedy: str) -> list[Layer]:
        """Return the chosen layers in the order in which they were recorded.

        Raises:
            ValueError: A pattern matches only outputs that are no maps.
        """
        vain = [pattern for pattern, found in self._fruitful.items() if not found]
        if not vain or self._may_be_empty:
            return list(self._layers.values())
        reasons = [
            f"{name} {reason}"
            for name, reason in self._left_out.items()
            if any(_matches(name, pattern) for pattern in vain)
        ]
        more = f"; and {len(reasons) - 4} more" if len(reasons) > 4 else ""
        quoted = ", ".join(f"'{pattern}'" for pattern in vain)
        raise UserError(
            f"layer pattern {quoted} matches no activation map: {'; '.join(reasons[:4])}{more}."
            f"{remedy}"
        )


def moved(name: str, maps: Tensor, place: Tensor) -> Tensor:
    """Copy maps into a given tensor, rounded to its dtype, and return it.

    Raises:
        ValueError: The shapes differ.
    """
    if place.shape != maps.shape:
        raise UserError(f"{name} has maps of shape {tuple(maps.shape)}, not {tuple(place.shape)}.")
    # Rounding and reordering from channels-last in one copy took up to five times as long.
    return place.copy_(maps if maps.is_contiguous() else maps.to(place.dtype))


def activations_of(
    module: nn.Module,
    run: Callable[[], Result],
    layers: Sequence[str],
    reader: Reader | None = None,
    *,
    gradients: bool = False,
    to_the_end: bool = True,
    into: Mapping[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], Result | None]:
    """Return the maps of some layers, (image, channel, y, x) each, and the result of `run`.

    Args:
        module: Module whose submodules get hooks, only those of `layers`.
        run: Function that calls the module.
        layers: Names of the layers, as layers_of returns them.
        reader: Reader that turns an output into a map, as in layers_of.
        gradients: Whether maps keep their graph for a backward pass, if gradients are enabled.
        to_the_end: Whether to run the whole forward pass. If not, it ends as soon as all maps are
            computed, and None is returned for the result of `run`.
        into: Tensor of each layer that its maps are copied into, rounded to its dtype; None
            allocates new memory in the module's dtype.

    Raises:
        ValueError: A layer does not exist, or its output is no map.
    """
    reader = reader or Reader()
    wanted, modules = set(layers), {_module_of(name) for name in layers}
    found: dict[str, Tensor] = {}

    def keep(name: str, source: Source, output: object) -> None:
        if name in wanted:
            maps = reader.read(output, source)
            if isinstance(maps, str):
                raise UserError(f"{name} {maps}.{reader.remedy}")
            found[name] = maps.clone() if into is None else moved(name, maps, into[name])
            if not to_the_end and len(found) == len(wanted):
                raise _Enough

    result: Result | None = None
    with contextlib.suppress(_Enough):
        result = _record(module, run, lambda name, _: name in modules, keep, gradients)
    if missing := [name for name in layers if name not in found]:
        raise UserError(
            f"{type(module).__name__} has no layer {', '.join(missing)}: no module of this name "
            "was called that often. `layers` gives the names there are."
        )
    return {name: found[name] for name in layers}, result


class _Enough(Exception):
    """Ends a forward pass once all maps are computed."""


def _record(
    module: nn.Module,
    run: Callable[[], Result],
    tapped: Callable[[str, nn.Module], bool],
    keep: Callable[[str, Source, object], None],
    gradients: bool = False,
) -> Result:
    # Calls `keep` with name, source and output of every call of a tapped module.
    calls: dict[str, int] = {}
    source = Source()

    def tap(name: str, kind: str | None):
        def see(child, _inputs, output):
            call = calls[name] = calls.get(name, -1) + 1
            source.module, source.nonlinearity = child, kind
            keep(f"{name}#{call}" if call else name, source, output)

        return see

    handles = []
    try:
        for name, child in module.named_modules():
            # Registered before the reading hook, so that a convolution is the source of its output.
            if channel_axis(child) is not None:
                handles.append(child.register_forward_hook(source.note))
            if name and tapped(name, child):
                hook = tap(name, nonlinearity_of(child))
                handles.append(child.register_forward_hook(hook))
        with torch.inference_mode(not gradients):
            return run()
    finally:
        for handle in handles:
            handle.remove()


def _inside_nonlinearities(module: nn.Module) -> set[nn.Module]:
    # StarReLU contains a ReLU, which is no separate layer.
    return {
        inner
        for child in module.modules()
        if _is_nonlinearity(child)
        for inner in child.modules()
        if inner is not child
    }


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern.removeprefix(ANY_MODULE))


def _module_of(layer: str) -> str:
    name, mark, call = layer.rpartition("#")
    return name if mark and call.isdigit() else layer
