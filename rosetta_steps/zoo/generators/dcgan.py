"""DCGAN (Radford et al. 2016): transposed convolutions from a normal z to an image."""

from pathlib import Path

import torch
from torch import Tensor, nn

from rosetta_steps.zoo.checkpoints.reading import load_state, read_tensors
from rosetta_steps.zoo.taps import Layer, activations_of, layers_of


class DCGAN(nn.Module):
    """z (image, latent) to an image (image, rgb, y, x) in [-1, 1].

    Args:
        latent: Components of z.
        channels: Of the blocks, the first at 4 x 4 and each next one twice as large.
    """

    def __init__(self, latent: int, channels: list[int]):
        super().__init__()
        blocks: list[nn.Module] = []
        widths = [latent, *channels]
        for index, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            stride, padding = (1, 0) if index == 0 else (2, 1)
            blocks += [
                nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        blocks += [nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*blocks)

    def forward(self, z: Tensor) -> Tensor:
        """Generate."""
        return self.main(z[:, :, None, None])


class Generator:
    """A DCGAN as the zoo needs it: latents in, images in [0, 1] and maps out."""

    def __init__(self, entry: dict, module: nn.Module, device: str):
        self.module, self.device = module.eval(), device
        self.latent_size = entry["architecture"]["latent"]

    def generate(self, latents: Tensor) -> Tensor:
        """Images (image, rgb, y, x) float32 in [0, 1], clamped, of latents (image, latent)."""
        return self._to_unit_range(self.module(latents.to(self.device)))

    def layers(self) -> list[Layer]:
        """All layers, in the order of the forward pass."""
        return layers_of(self.module, torch.zeros(1, self.latent_size, device=self.device))

    def activations(self, latents: Tensor, layers: list[str]) -> dict[str, Tensor]:
        """Maps of some layers: (image, channel, y, x) each."""
        return activations_of(self.module, latents.to(self.device), layers)[0]

    @staticmethod
    def _to_unit_range(images: Tensor) -> Tensor:
        return ((images + 1) / 2).clamp(0, 1)


def load(name: str, entry: dict, weights: Path | None, device: str) -> Generator:
    """A generator with its weights, or without values on the meta device.

    Raises:
        ValueError: The weights do not fit.
    """
    with torch.device("meta" if weights is None else "cpu"):
        module = DCGAN(**entry["architecture"])
    if weights is not None:
        load_state(module, read_tensors(weights, entry["weights"].get("key")), name)
        module.to(device)
    return Generator(entry, module, "meta" if weights is None else device)
