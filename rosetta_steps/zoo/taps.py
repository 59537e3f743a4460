"""Tap the activation maps of a torch module while it runs.

A layer is one call of an activation module; its name is the module's dotted name, and a module
called again gives name#1, name#2. The map is copied when it appears, before an in-place successor
can overwrite it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Units are read after one of these. Sigmoid and Tanh are gates and image outputs, not units.
NONLINEARITIES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
)


@dataclass(frozen=True)
class Layer:
    """Shape of one layer's maps and the nonlinearity they come from."""

    name: str
    channels: int
    size: tuple[int, int]
    nonlinearity: str


def nonlinearity_of(module: nn.Module) -> str | None:
    """Class name of an activation module (timm has its own GELU and the like), else None."""
    if isinstance(module, NONLINEARITIES):
        return type(module).__name__
    own = {kind.__name__ for kind in NONLINEARITIES} | {"GELUTanh", "QuickGELU", "HardSwishMe"}
    return type(module).__name__ if type(module).__name__ in own else None


def record(
    module: nn.Module, run: Callable[[], object], keep: Callable[[str, str, Tensor], None]
) -> None:
    """Run a module and hand over every post-activation map.

    Args:
        module: Whose activation modules are tapped.
        run: Calls it.
        keep: Called in the order of the forward pass with the layer's name, its nonlinearity and
            its output (image, channel, y, x), which it must copy if it keeps it.
    """
    calls: dict[str, int] = {}

    def hook(name: str, kind: str):
        def see(_module, _inputs, output):
            call = calls[name] = calls.get(name, -1) + 1
            if isinstance(output, Tensor) and output.ndim == 4:
                keep(f"{name}#{call}" if call else name, kind, output)

        return see

    handles = [
        child.register_forward_hook(hook(name, kind))
        for name, child in module.named_modules()
        if (kind := nonlinearity_of(child))
    ]
    try:
        with torch.inference_mode():
            run()
    finally:
        for handle in handles:
            handle.remove()


def layers_of(module: nn.Module, inputs: Tensor) -> list[Layer]:
    """All layers of a module, found by one forward pass (on the meta device it costs nothing)."""
    found = []
    record(
        module,
        lambda: module(inputs),
        lambda name, kind, output: found.append(
            Layer(name, output.shape[1], tuple(output.shape[2:]), kind)
        ),
    )
    return found


def activations_of(
    module: nn.Module, inputs: Tensor, layers: list[str]
) -> tuple[dict[str, Tensor], object]:
    """Maps of some layers, (image, channel, y, x) each, and the module's own output."""
    wanted = set(layers)
    maps: dict[str, Tensor] = {}
    result = []

    def keep(name: str, _kind: str, output: Tensor) -> None:
        if name in wanted:
            maps[name] = output.clone()

    record(module, lambda: result.append(module(inputs)), keep)
    return {name: maps[name] for name in layers}, result[0]
