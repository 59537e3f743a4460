"""A torch module as the zoo needs it: images in [0, 1] in, activation maps out."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.hooks import Layer, activations_of, layers_of
from rosetta_steps.zoo.layouts import Reader, Tokens
from rosetta_steps.zoo.models.preprocessing import Preprocessing


class Model:
    """A discriminative model on a device.

    Attributes:
        name: In the zoo.
        module: Takes normalised images, (image, rgb, y, x).
        preprocessing: Makes them from images in [0, 1].
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        preprocessing: Preprocessing,
        device: str,
        *,
        tokens: Tokens | None = None,
        remedy: str = "",
    ):
        self.module = module.eval()
        # channels_last halves the forward pass of a convolutional network on a CPU.
        self.memory_format = torch.channels_last
        try:
            module.to(memory_format=torch.channels_last)
        except RuntimeError:  # weights in five dimensions (Conv3d, LambdaNet) have no such layout
            self.memory_format = torch.contiguous_format
            module.to(memory_format=torch.contiguous_format)
        self.name, self.preprocessing, self.device = name, preprocessing, device
        self.tokens, self.remedy = tokens or Tokens(), remedy

    def layers(
        self, patterns: Sequence[str] | None = None, left_out: dict[str, str] | None = None
    ) -> list[Layer]:
        """Layers that match, in the order of the forward pass.

        Args:
            patterns: As in zoo.hooks.layers_of; None for all post-activation layers.
            left_out: Takes the outputs that match and are no maps, and why.

        Raises:
            ValueError: The module cannot be run on images of its input size, or a pattern matches
                outputs of which none is a map.
        """
        # Two images, so that what is no batch of images (a table of positions) shows.
        inputs = torch.zeros(2, 3, *self.preprocessing.size, device=self.device)

        def run() -> None:
            try:
                self.module(inputs)
            except Exception as error:  # whatever a module raises
                y, x = self.preprocessing.size
                raise UserError(
                    f"it cannot be run on images of {y} x {x} pixels ({type(error).__name__}: "
                    f"{error}). Check preprocessing.size and architecture of its entry."
                ) from error

        try:
            return layers_of(self.module, run, patterns, self._reader(2), left_out)
        except ValueError as error:
            raise UserError(f"{self.name}: {error}") from error

    def activations(
        self,
        images: Tensor,
        layers: Sequence[str],
        *,
        gradients: bool = False,
        into: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Maps of some layers, (image, channel, y, x) each, of images in [0, 1].

        Args:
            images: (image, rgb, y, x) of any size.
            layers: Names, as `layers` gives them.
            gradients: Keep what a backward pass to the images needs.
            into: Of each layer, where its maps go; None: to new memory.

        Raises:
            ValueError: There is no such layer, or its output is no map.
        """
        inputs = self._inputs(images)
        reader = self._reader(len(images))
        try:
            return activations_of(
                self.module,
                lambda: self.module(inputs),
                layers,
                reader,
                gradients=gradients,
                to_the_end=False,
                into=into,
            )[0]
        except ValueError as error:
            raise UserError(f"{self.name}: {error}") from error

    def scores(self, images: Tensor) -> Tensor:
        """The model's own output for images in [0, 1]."""
        with torch.inference_mode():
            return self.module(self._inputs(images))

    def _inputs(self, images: Tensor) -> Tensor:
        inputs = self.preprocessing(images.to(self.device))
        return inputs.contiguous(memory_format=self.memory_format)

    def _reader(self, images: int) -> Reader:
        return Reader(self.tokens, images, self.preprocessing.size, self.remedy)
