"""The mapping network of the StyleGANs: z, and a class, to the intermediate latent w."""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.generators.full_precision import full_precision

# StyleGAN (Karras et al. 2019) trains the mapping network with a rate 100 times smaller.
LEARNING_RATE_FACTOR = 0.01


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 that keeps the variance of its input: times sqrt(2)."""
    return F.leaky_relu(x, 0.2) * sqrt(2)


def unit_rms(x: Tensor) -> Tensor:
    """Rows (image, component) divided by their root mean square."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class FullyConnected(nn.Module):
    """A linear layer whose stored weights are unscaled (Karras et al. 2018, section 4.1).

    Args:
        inputs: Components of an input row.
        outputs: Components of an output row.
        factor: Of the learning rate; the stored weights and biases are larger by its inverse.
        bias: Initial value.
        activate: Whether a leaky ReLU follows.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        factor: float = 1.0,
        bias: float = 0.0,
        activate: bool = False,
    ):
        super().__init__()
        self.factor, self.activate = factor, activate
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / factor)
        self.bias = nn.Parameter(torch.full((outputs,), bias))

    def forward(self, x: Tensor) -> Tensor:
        """Rows (image, component) to rows (image, component)."""
        with full_precision(x):
            scale = self.factor / sqrt(self.weight.shape[1])
            x = F.linear(x, self.weight * scale, self.bias * self.factor)
        return leaky_relu(x) if self.activate else x


class Mapping(nn.Module):
    """z (image, latent) to w (image, layer, component), the same row for each layer.

    StyleGAN2 (Karras et al. 2020), appendix B; with classes, its ADA version.

    Args:
        latent: Components of z.
        w: Components of w.
        rows: Layers of the synthesis network.
        layers: Fully connected layers.
        classes: 0 where it is unconditional.
        class_components: What a class adds to z, as many as w has unless given.
    """

    w_avg: Tensor
    embed: FullyConnected | nn.Embedding

    def __init__(
        self,
        latent: int,
        w: int,
        rows: int,
        layers: int,
        classes: int = 0,
        class_components: int | None = None,
    ):
        super().__init__()
        self.rows, self.layers, self.classes = rows, layers, classes
        self.register_buffer("w_avg", torch.zeros(w))
        inputs = latent
        if classes:
            added = w if class_components is None else class_components
            self.embed = FullyConnected(classes, added)
            inputs += added
        for index in range(layers):
            layer = FullyConnected(inputs, w, LEARNING_RATE_FACTOR, activate=True)
            self.add_module(f"fc{index}", layer)
            inputs = w

    def forward(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Map.

        Args:
            z: (image, latent), normal; only its direction matters.
            labels: Class indices (image), where there are classes.
            truncation: psi, the distance kept from the mean of w: 1 keeps w, 0 gives the mean.

        Raises:
            ValueError: There are classes, and no labels.
        """
        if self.classes and labels is None:
            raise UserError(
                f"the generator has {self.classes} classes and got no labels: give the index of a "
                "class for each image."
            )
        x = unit_rms(z)
        if self.classes:
            assert labels is not None
            x = torch.cat([x, unit_rms(self.of_class(labels))], 1)
        for index in range(self.layers):
            x = self.get_submodule(f"fc{index}")(x)
        if truncation != 1:
            x = torch.lerp(self.mean(labels), x, truncation)
        return x[:, None].repeat(1, self.rows, 1)

    def of_class(self, labels: Tensor) -> Tensor:
        """What classes add to z, (image, component)."""
        return self.embed(F.one_hot(labels, self.classes).to(self.embed.weight.dtype))

    def mean(self, labels: Tensor | None) -> Tensor:
        """Mean of w, (component) or (image, component), towards which it is truncated."""
        return self.w_avg
