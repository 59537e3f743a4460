"""The protocols of models and generators: what the steps need of them, whatever runs them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from rosetta_steps.zoo.hooks import Layer
from rosetta_steps.zoo.models.preprocessing import Preprocessing


class ImageModel(Protocol):
    """Protocol of discriminative models: images in, maps out.

    Two classes implement it: torch_models.Model runs a torch module, onnx_models.Model an ONNX
    graph. An object of any other class that implements it can be mined too. If it has a torch
    module as `module`, the tests of determinism also check that a pass does not change it.

    Attributes:
        name: Name in the zoo.
        preprocessing: Input size and normalisation, recorded with the maps.
    """

    name: str
    preprocessing: Preprocessing

    def layers(self, patterns: Sequence[str] | None = None) -> list[Layer]:
        """Return the layers that match patterns, in the order of the forward pass.

        Args:
            patterns: Patterns of layer names as in fnmatch; None means all layers after a
                nonlinearity.

        Raises:
            ValueError: A pattern matches outputs of which none is a map.
        """

    def activations(
        self, images: Tensor, layers: Sequence[str], *, into: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the maps of some layers, (image, channel, y, x) each.

        Args:
            images: Images (image, rgb, y, x) float32 in [0, 1], of any size and on any device; the
                model resizes and normalises them.
            layers: Names of the layers.
            into: Tensor of each layer that the maps are copied into and that is then returned, in
                its dtype and on its device; None returns new tensors.

        Raises:
            ValueError: There is no such layer, or its output is no map.
        """


class ImageGenerator(Protocol):
    """Protocol of generators: latents in, images and maps out.

    The class generators.generator.Generator implements it for all families. An object of any other
    class that implements it can be sampled and mined too.

    Attributes:
        name: Name in the zoo.
        device: Device of its weights, "cpu" or "cuda".
        autocast: Dtype of autocast, such as "bfloat16", whose rounding is then allowed for; None
            for float32.
        latent_size: Number of components of z.
        classes: Number of classes; 0 if it is unconditional.
        latent_bound: Bound of z, which is normal within -bound and bound; None for no bound.
        truncation_scales_z: Whether z is multiplied by the truncation before it is given.
    """

    name: str
    device: str
    autocast: str | None
    latent_size: int
    classes: int
    latent_bound: float | None
    truncation_scales_z: bool

    def check(self, truncation: float) -> None:
        """Raise a ValueError if the generator does not support a truncation psi; 1 is none."""

    def generate(
        self, latents: Tensor, labels: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Return images (image, rgb, y, x) float32 in [0, 1].

        Args:
            latents: Latents z, (image, latent) float32, on any device.
            labels: Class indices (image) int64; None if there are no classes.
            truncation: Truncation psi; 1 means no truncation.
        """

    def layers(self, patterns: Sequence[str] | None = None) -> list[Layer]:
        """Return the layers that match patterns, as ImageModel.layers."""

    def activations(
        self,
        latents: Tensor,
        layers: Sequence[str],
        labels: Tensor | None = None,
        truncation: float = 1.0,
        into: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the maps of some layers, (image, channel, y, x) each, while images are generated.

        Args:
            latents: Latents z, as in `generate`.
            layers: Names of the layers.
            labels: Class indices, as in `generate`.
            truncation: Truncation psi, as in `generate`.
            into: Tensors that the maps are copied into, as in ImageModel.activations.
        """


class TorchGenerator(ImageGenerator, Protocol):
    """Protocol of generators that can be inverted and edited, which needs their gradients.

    Attributes:
        network: Torch module, whose layers are modules in it. If it has w, its parts are `mapping`
            (from z to w) and `synthesis` (from w to images), as in generators.stylegan.
    """

    network: nn.Module

    def raw(self, latents: Tensor, labels: Tensor | None, truncation: float) -> Tensor:
        """Return images (image, rgb, y, x) in about [-1, 1], not clamped, differentiable in z."""
