"""Direct edits: a forward pass in which some maps are replaced (Bau et al. 2019).

The paper advises against them (section 4.2): what follows the replaced maps never saw such maps in
training, and shows artefacts. They are here to compare with.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def replaced(
    network: nn.Module, maps: Mapping[str, tuple[Sequence[int], Tensor]]
) -> Iterator[None]:
    """Replace maps of some layers while a network runs, once, within the block.

    Hooks that are registered within the block see the replaced maps.

    Args:
        network: Whose modules put out (image, channel, y, x). Of a module with a `margin`, maps
            are those inside it, as zoo.hooks gives them; the margin stays as it is.
        maps: By layer, named as in zoo.hooks (a module called again is name#1): channels, and their
            maps, (image, channel, y, x).
    """
    calls: dict[str, int] = {}
    modules = dict(network.named_modules())

    def hook_of(name: str):
        def replace(module: nn.Module, _inputs, output: Tensor) -> Tensor | None:
            call = calls[name] = calls.get(name, -1) + 1
            layer = f"{name}#{call}" if call else name
            if layer not in maps:
                return None
            channels, values = maps[layer]
            changed = output.clone()
            margin = getattr(module, "margin", 0)
            inside = changed[..., margin:-margin, margin:-margin] if margin else changed
            inside[:, torch.as_tensor(channels, device=output.device)] = values.to(output)
            return changed

        return replace

    names = {layer if layer in modules else layer.rpartition("#")[0] for layer in maps}
    handles = [modules[name].register_forward_hook(hook_of(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
