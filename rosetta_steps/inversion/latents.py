"""Spaces of the optimised latent: z, w, or w with a separate row for every layer (W+)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast, overload

import numpy as np
import torch
from torch import Tensor, nn

from rosetta_steps.inversion.settings import SPACES
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.generators.latents import latent
from rosetta_steps.zoo.generators.mapping import Mapping
from rosetta_steps.zoo.hooks import activations_of
from rosetta_steps.zoo.protocols import TorchGenerator

# Offset of the Philox keys of random starts, so that they differ from those of sample sets.
STARTS = 2**32


class _Parts(Protocol):
    # Parts of a network that has w.
    mapping: Mapping
    synthesis: nn.Module


@dataclass
class Latents:
    """Space of a generator's latents, for images of given classes.

    Attributes:
        generator: Generator; its weights are not optimised.
        space: One of SPACES.
        labels: Class indices (image) int64; None if the generator has no classes.
        truncation: psi of the images.

    Raises:
        ValueError: The generator has no such space, or needs labels.
    """

    generator: TorchGenerator
    space: str
    labels: Tensor | None = None
    truncation: float = 1.0

    def __post_init__(self):
        if self.space not in SPACES:
            raise UserError(f"no latent space '{self.space}': choose one of {', '.join(SPACES)}.")
        name, network = self.generator.name, self.generator.network
        if self.space != "z" and not hasattr(network, "mapping"):
            raise UserError(f"{name} has no mapping network, so no {self.space}: use space: z.")
        if self.generator.classes and self.labels is None:
            raise UserError(
                f"{name} has {self.generator.classes} classes and the targets have no labels: say "
                "which class to show (class: in the inversion, --class by hand)."
            )
        if self.labels is not None:
            self.labels = self.labels.to(self.generator.device)
        self.generator.check(self.truncation)
        network.requires_grad_(False)

    def of(self, rows: Tensor) -> "Latents":
        """Return the same space for a selection of the images.

        Args:
            rows: Indices of the images.
        """
        labels = None if self.labels is None else self.labels[rows]
        return Latents(self.generator, self.space, labels, self.truncation)

    def random(self, seed: int, images: Sequence[int], start: int = 0) -> Tensor:
        """Return a random latent for each image, which depends only on seed, image and start.

        Args:
            seed: Seed of the inversion.
            images: Numbers of the images.
            start: Number of the start.

        Returns:
            Latents (image, latent) in z, (image, component) in w, (image, layer, component) in w+.
        """
        generator = self.generator
        key, bound = seed + STARTS * (start + 1), generator.latent_bound
        z = np.stack([latent(key, i, generator.latent_size, bound) for i in images])
        if generator.truncation_scales_z:
            z *= np.float32(self.truncation)
        return self.from_z(torch.from_numpy(z).to(generator.device))

    @property
    def _parts(self) -> _Parts:
        return cast(_Parts, self.generator.network)

    def from_z(self, z: Tensor) -> Tensor:
        """Return the latents of this space that give the same images as z, (image, latent)."""
        if self.space == "z":
            return z
        with torch.no_grad():
            w = self._parts.mapping(z, self.labels, self.truncation)
        return (w[:, 0] if self.space == "w" else w).clone()

    def prior(self) -> Tensor:
        """Return the centre of the space, zero or the mean w; it broadcasts against latents."""
        if self.space == "z":
            return torch.zeros((), device=self.generator.device)
        mean = self._parts.mapping.mean(self.labels)
        return mean if self.space == "w" or mean.ndim == 1 else mean[:, None]

    def raw(self, latents: Tensor) -> Tensor:
        """Return the network's images, (image, rgb, y, x) in about [-1, 1], not clamped."""
        if self.space == "z":
            return self.generator.raw(latents, self.labels, self.truncation)
        rows = latents
        if self.space == "w":
            rows = latents[:, None].expand(-1, self._parts.mapping.rows, -1)
        return self._parts.synthesis(rows)

    @overload
    def maps_and_images(
        self, latents: Tensor, layers: list[str], images: Literal[True], gradients: bool = True
    ) -> tuple[dict[str, Tensor], Tensor]: ...

    @overload
    def maps_and_images(
        self, latents: Tensor, layers: list[str], images: bool, gradients: bool = True
    ) -> tuple[dict[str, Tensor], Tensor | None]: ...

    def maps_and_images(
        self, latents: Tensor, layers: list[str], images: bool, gradients: bool = True
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return maps of some layers and the images, differentiable.

        Args:
            latents: Latents of this space.
            layers: Names of the generator's layers.
            images: Whether images are needed; if not, the pass ends with the last of the layers and
                None is returned for them.
            gradients: Whether a backward pass will follow.

        Returns:
            Maps (image, channel, y, x) of each layer, and images (image, rgb, y, x) with nominal
            range [0, 1], not clamped.
        """
        if layers:
            maps, raw = activations_of(
                self.generator.network,
                lambda: self.raw(latents),
                layers,
                gradients=gradients,
                to_the_end=images,
            )
        else:
            maps, raw = {}, self.raw(latents)
        if not images:
            return maps, None
        assert raw is not None, "the pass went to the end"
        return maps, (raw.float() + 1) / 2

    def pictures(self, latents: Tensor) -> Tensor:
        """Return images (image, rgb, y, x) float32, clamped to [0, 1]."""
        with torch.no_grad():
            return ((self.raw(latents).float() + 1) / 2).clamp(0, 1)
