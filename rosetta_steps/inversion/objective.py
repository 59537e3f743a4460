"""The loss of an inversion: L_rec + alpha L_reg - beta L_act (eq. 7; without L_rec, eq. 5)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rosetta_steps.inversion.latents import Latents
from rosetta_steps.inversion.perceptual import PerceptualDistance
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.inversion.similarity import Similarity

TERMS = ("total", "reconstruction", "activation", "regulariser")


@dataclass
class Reconstruction:
    """L_rec, the mean absolute or squared difference of pixels, or a perceptual distance.

    Attributes:
        kind: One of settings.RECONSTRUCTIONS except "none".
        targets: Target images (image, rgb, y, x) in [0, 1], of the size of the generator's images.
        distance: Perceptual distance, for the perceptual kinds.
    """

    kind: str
    targets: Tensor
    distance: PerceptualDistance | None = None

    def __post_init__(self):
        if self.distance:
            with torch.no_grad():
                self.features = self.distance.features(self.targets)

    def __call__(self, images: Tensor, rows: Tensor) -> Tensor:
        """Return L_rec of each image, (image).

        Args:
            images: Generated images, (image, rgb, y, x).
            rows: Number of the target that each image is compared with, (image).
        """
        if self.distance:
            of_rows = (
                [part[rows] for part in self.features]
                if isinstance(self.features, list)
                else self.features[rows]
            )
            return self.distance.distance(self.distance.features(images.clamp(0, 1)), of_rows)
        difference = images - self.targets[rows]
        size = difference.abs() if self.kind == "l1" else difference.square()
        return size.mean((1, 2, 3))


@dataclass
class Objective:
    """The terms of eq. 5 or 7 for a batch of latents.

    Attributes:
        settings: Weights of the terms, and their forms.
        similarity: L_act; None leaves out guidance.
        reconstruction: L_rec; None leaves out reconstruction.
    """

    settings: Settings
    similarity: Similarity | None
    reconstruction: Reconstruction | None

    @property
    def layers(self) -> list[str]:
        """Names of the generator's layers whose maps the loss needs."""
        return self.similarity.layers if self.similarity else []

    def __call__(
        self,
        space: Latents,
        latents: Tensor,
        anchor: Tensor,
        rows: Tensor,
        *,
        gradients: bool = True,
        guided: bool = True,
    ) -> dict[str, Tensor]:
        """Return the terms by name, (image) each, and their weighted total.

        The terms themselves are not weighted. Without guidance L_act is NaN and not in the total.

        Args:
            space: Space of the latents.
            latents: Latents, one for each image.
            anchor: Point to which L_reg draws the latents; it broadcasts against them.
            rows: Number of the target of each latent, (image).
            gradients: Whether a backward pass will follow.
            guided: Whether L_act counts in the total.
        """
        maps, images = space.maps_and_images(
            latents, self.layers, images=self.reconstruction is not None, gradients=gradients
        )
        none = latents.new_zeros(len(latents))
        reconstruction = none
        if self.reconstruction:
            assert images is not None, "they were asked for"
            reconstruction = self.reconstruction(images, rows)
        activation = self.similarity(maps, rows) if self.similarity else none + math.nan
        away = latents - anchor
        size = away.abs() if self.settings.norm == "l1" else away.square()
        regulariser = size.flatten(1).mean(1)
        total = reconstruction + self.settings.alpha * regulariser
        if self.similarity and guided:
            total = total - self.settings.beta * activation
        return dict(zip(TERMS, (total, reconstruction, activation, regulariser), strict=True))
