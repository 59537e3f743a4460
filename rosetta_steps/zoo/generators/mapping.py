"""The mapping network of the StyleGANs, from z and class to the intermediate latent w."""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.generators.full_precision import full_precision

# StyleGAN (Karras et al. 2019) trains the mapping network with a 100 times lower learning rate.
LEARNING_RATE_FACTOR = 0.01


def leaky_relu(x: Tensor) -> Tensor:
    """Apply a leaky ReLU of slope 0.2 times sqrt(2), which preserves the variance."""
    return F.leaky_relu(x, 0.2) * sqrt(2)


def unit_rms(x: Tensor) -> Tensor:
    """Divide rows (image, component) by their root mean square."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class FullyConnected(nn.Module):
    """A linear layer whose stored weights are unscaled (Karras et al. 2018, section 4.1).

    Args:
        inputs: Number of input components.
        outputs: Number of output components.
        factor: Factor of the learning rate; stored weights and biases are larger by its inverse.
        bias: Initial value of the biases.
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
        """Map rows (image, component) to rows (image, component)."""
        with full_precision(x):
            scale = self.factor / sqrt(self.weight.shape[1])
            x = F.linear(x, self.weight * scale, self.bias * self.factor)
        return leaky_relu(x) if self.activate else x


class Mapping(nn.Module):
    """Network from z (image, latent) to w (image, layer, component), with equal rows.

    Source: StyleGAN2 (Karras et al. 2020), appendix B; with classes, its ADA version.

    Args:
        latent: Number of components of z.
        w: Number of components of w.
        rows: Number of rows of w, one for each layer of the synthesis network.
        layers: Number of fully connected layers.
        classes: Number of classes; 0 if it is unconditional.
        class_components: Number of components that a class appends to z; None for as many as w.
    """

    w_avg: Tensor
    embed: FullyConnected | nn.Embedding

    def __init__(
        self,
        latent: int,
        w: int,
        rows: int,
        layers: int,
        *,
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
        """Return w.

        Args:
            z: Normal latents (image, latent), of which only the direction matters.
            labels: Class indices (image), if there are classes.
            truncation: Share psi of the distance from the mean of w: 1 keeps w, 0 gives the mean.

        Raises:
            ValueError: There are classes but no labels.
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
        """Return the components that classes append to z, (image, component)."""
        return self.embed(F.one_hot(labels, self.classes).to(self.embed.weight.dtype))

    def mean(self, labels: Tensor | None) -> Tensor:
        """Return the mean of w, (component) or (image, component), the target of truncation."""
        return self.w_avg
