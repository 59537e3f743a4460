"""Tap the activation maps of a torch module while it runs.

A layer is one call of a module; its name is the module's dotted name, and a module called again
gives name#1, name#2. A plain pattern finds post-activation layers, one that starts with `module:`
the output of any module. The map is copied when it appears, before an in-place successor can
overwrite it.
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

Result = TypeVar("Result")

ANY_MODULE = "module:"
NO_NONLINEARITY = "none"

# Units are read after one of these. Sigmoid and Tanh are gates and image outputs, not units.
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
# Known by the names of their classes: timm and open_clip have their own, some as no subclass.
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
    """Shape of one layer's maps and the nonlinearity they come from ("none" for none)."""

    name: str
    channels: int
    size: tuple[int, int]
    nonlinearity: str


def nonlinearity_of(module: nn.Module) -> str | None:
    """Name of the nonlinearity whose output a module returns, None for any other module.

    That is the class name of an activation module, or what a module says of itself in a string
    attribute `nonlinearity` (a StyleGAN layer that ends in a leaky ReLU).
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
    """Layers of a module that match, in the order in which their outputs come.

    A plain pattern leaves out what has no place in the image: maps of one position (the gate of a
    squeeze-and-excitation) and outputs that are no maps.

    Args:
        module: Whose modules are tapped; one pass finds the layers (on the meta device it costs
            nothing).
        run: Calls it.
        patterns: Of layer names, as fnmatch has them; see the head of this file. None: all
            post-activation layers, or none where there are none.
        reader: How an output becomes a map; by default four dimensions are one.
        left_out: Takes the outputs that match and are no maps, and why.

    Raises:
        ValueError: A pattern matches outputs of which none is a map: which they are and why.
    """
    reader = reader or Reader()
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
    """The layers that patterns choose among the outputs of a forward pass."""

    def __init__(self, patterns: Sequence[str] | None):
        self.patterns = ("*",) if patterns is None else tuple(patterns)
        self._may_be_empty = patterns is None
        self._layers: dict[str, Layer] = {}
        self._left_out: dict[str, str] = {}
        self.no_maps: dict[str, str] = {}  # of these, all but the maps of one position
        self._fruitful: dict[str, bool] = {}  # of patterns that match any output: if one is a map

    def matching(self, name: str, unit: bool) -> list[str]:
        """Patterns that match an output; a plain one only that of a nonlinearity (`unit`)."""
        return [
            pattern
            for pattern in self.patterns
            if (unit or pattern.startswith(ANY_MODULE)) and _matches(name, pattern)
        ]

    def see(self, name: str, unit: bool, nonlinearity: str | None, maps: Tensor | str) -> None:
        """Take an output into account: its maps (image, channel, y, x), or why it has none."""
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
        """Those chosen, in the order in which they were seen.

        Raises:
            ValueError: A pattern matches outputs of which none is a map.
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
    """Maps at another place, rounded to its dtype.

    Raises:
        ValueError: They have another shape.
    """
    if place.shape != maps.shape:
        raise UserError(f"{name} has maps of shape {tuple(maps.shape)}, not {tuple(place.shape)}.")
    # To round and, from channels last, to reorder at once took up to five times as long.
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
    """Maps of some layers, (image, channel, y, x) each, and what `run` returned.

    Args:
        module: Whose modules are tapped, those of `layers` only.
        run: Calls it.
        layers: Names, as layers_of gives them.
        reader: As in layers_of.
        gradients: Keep what a backward pass needs, where gradients are enabled.
        to_the_end: Else the forward pass ends as soon as all maps are there, and None stands for
            what `run` would have returned.
        into: Of each layer, where its maps go as they appear, rounded to its dtype; None: to new
            memory, as the module gives them.

    Raises:
        ValueError: There is no such layer, or its output is no map.
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
    """Ends a forward pass whose rest nobody needs."""


def _record(
    module: nn.Module,
    run: Callable[[], Result],
    tapped: Callable[[str, nn.Module], bool],
    keep: Callable[[str, Source, object], None],
    gradients: bool = False,
) -> Result:
    # Gives keep the name, the source and the output of every call of a tapped module.
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
            # Before the tap, so that a convolution is the source of its own output.
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
    # StarReLU has a ReLU inside, which is no layer of its own.
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
