"""A generator one of whose maps is set to a level in a region, and the images it then makes."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rosetta_steps.editing.direct import replaced
from rosetta_steps.editing.sources import Source
from rosetta_steps.maps.resampling import size_of
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.hooks import activations_of
from rosetta_steps.zoo.protocols import TorchGenerator

# Of a unit whose map is set to a level in a region, what the level is.
CLAMP, SILENCE = "clamp", "silence"
KINDS = (CLAMP, SILENCE)
LEVEL = 0.99  # quantile of a unit's values over images and positions
CELLS = 32  # a side of the grid of positions at most, from which the quantile is taken

Unit = tuple[str, int]  # layer, channel


class Painter:
    """A generator and the latents of some images.

    Args:
        generator: On its device.
        source: Latents of the images, in z.

    Raises:
        ValueError: The generator is no torch module, in which maps could be set.
    """

    def __init__(self, generator: TorchGenerator, source: Source):
        if not isinstance(getattr(generator, "network", None), nn.Module):
            raise UserError(
                f"{generator.name} is no torch module, so its maps cannot be set while it runs. "
                "Take a sample set of another generator."
            )
        self.generator, self.source = generator, source

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.source.latents)

    def _raw(self, block: slice) -> Tensor:
        part = self.source.part(block)
        latents = part.latents.to(self.generator.device)
        return self.generator.raw(latents, part.labels, part.truncation)

    def maps_and_images(
        self, block: slice, units: Mapping[str, Sequence[int]]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Maps of units by layer, (image, unit, y, x), and images (image, rgb, y, x) in [0, 1].

        Args:
            block: Which images.
            units: Layer to channels.
        """
        maps, raw = activations_of(self.generator.network, lambda: self._raw(block), list(units))
        assert raw is not None, "the whole forward pass was run"
        return {layer: maps[layer][:, list(of)].float() for layer, of in units.items()}, _shown(raw)

    def images_with(self, block: slice, unit: Unit, maps: Tensor) -> Tensor:
        """Images made with the map of one unit replaced, (image, rgb, y, x) in [0, 1].

        Args:
            block: Which images.
            unit: The unit.
            maps: Its map on each image, (image, y, x).
        """
        layer, channel = unit
        with (
            torch.inference_mode(),
            replaced(self.generator.network, {layer: ([channel], maps[:, None])}),
        ):
            return _shown(self._raw(block))

    def refuse_layers_that_cannot_be_set(self, layers: Sequence[str]) -> None:
        """Raise a ValueError if the output of a layer's module is not the map of its units."""
        outputs: dict[str, object] = {}
        network, modules = self.generator.network, dict(self.generator.network.named_modules())
        names = {layer if layer in modules else layer.rpartition("#")[0] for layer in layers}
        handles = [
            modules[name].register_forward_hook(
                lambda _module, _inputs, output, name=name: outputs.__setitem__(name, output)
            )
            for name in names
        ]
        try:
            maps, _ = activations_of(network, lambda: self._raw(slice(0, 1)), list(layers))
        finally:
            for handle in handles:
                handle.remove()
        for layer in layers:
            name = layer if layer in modules else layer.rpartition("#")[0]
            output, margin = outputs[name], 2 * getattr(modules[name], "margin", 0)
            y, x = size_of(maps[layer])
            wanted = (*maps[layer].shape[:2], y + margin, x + margin)
            if not isinstance(output, Tensor) or tuple(output.shape) != wanted:
                found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise UserError(
                    f"{self.generator.name} cannot be clamped at {layer}: its module gives "
                    f"{found}, not maps (image, channel, y, x). Mine layers that do."
                )


def _shown(raw: Tensor) -> Tensor:
    return ((raw.float() + 1) / 2).clamp(0, 1)


def set_in_regions(maps: Tensor, inside: np.ndarray, level: float) -> Tensor:
    """Maps with a level inside regions and as they were elsewhere.

    Args:
        maps: Of one unit, (image, y, x).
        inside: Where, (image, y, x) bool.
        level: The value.
    """
    return torch.where(torch.from_numpy(inside).to(maps.device), maps.new_tensor(level), maps)


def coarse(maps: Tensor) -> np.ndarray:
    """Values of maps at a grid of at most CELLS positions a side, (unit, value) float32."""
    y, x = (max(1, -(-cells // CELLS)) for cells in size_of(maps))
    return maps[..., ::y, ::x].transpose(0, 1).flatten(1).cpu().numpy()


def picture_change(before: Tensor, after: Tensor) -> np.ndarray:
    """Mean squared change of every image's pixels, (image)."""
    return (after - before).square().mean((1, 2, 3)).cpu().numpy()
