"""BigGAN-deep (Brock et al. 2019, appendix B, tables 7 to 9), from class and z to an image.

Names and shapes of the state dict are those of the PyTorch conversion of DeepMind's weights, which
stores weights before spectral normalisation: a weight is weight_orig / sigma.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.generators.full_precision import full_precision

RGB = 3
FIRST_SIZE = 4  # height and width in pixels of the first maps

# Channels of the published networks at 4, 8, 16 .. pixels, by resolution.
CHANNELS = {
    128: [2048, 2048, 1024, 512, 256, 128],
    256: [2048, 2048, 1024, 1024, 512, 256, 128],
    512: [2048, 2048, 1024, 1024, 512, 256, 128, 128],
}


class _SpectralNorm(nn.Module):
    """A weight divided by its largest singular value sigma = u^T W v (Miyato et al. 2018).

    u and v are read from the checkpoint; no power iteration updates them.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, *shape: int):
        super().__init__()
        self.weight_orig = nn.Parameter(torch.randn(shape) / math.prod(shape[1:]) ** 0.5)
        weight = self.weight_orig.detach().flatten(1)
        # One power iteration keeps activations of a network without checkpoint in a normal range.
        v = weight.T @ torch.randn(len(weight))
        v = v / v.norm()
        u = weight @ v
        self.register_buffer("weight_u", u / u.norm())
        self.register_buffer("weight_v", v)

    def weight(self) -> Tensor:
        """Normalised weight, in the shape of weight_orig."""
        with full_precision(self.weight_orig):
            sigma = self.weight_u @ (self.weight_orig.flatten(1) @ self.weight_v)
            return self.weight_orig / sigma


class SpectralLinear(_SpectralNorm):
    """Linear layer with spectral normalisation, from (image, before) to (image, after)."""

    def __init__(self, before: int, after: int, bias: bool = False):
        super().__init__(after, before)
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return functional.linear(x, self.weight(), self.bias)


class SpectralConvolution(_SpectralNorm):
    """Convolution of (image, channel, y, x) with spectral normalisation; it keeps the size."""

    def __init__(self, before: int, after: int, kernel: int, bias: bool = True):
        super().__init__(after, before, kernel, kernel)
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        return functional.conv2d(x, self.weight(), self.bias, padding=self.padding)


class _Statistics(nn.Module):
    """Means and variances of channels, with one row for each of several truncations.

    Rows correspond to truncations 0, step, 2 step .. 1 (with 51 rows the step is 0.02).
    """

    running_means: Tensor
    running_vars: Tensor

    def __init__(self, channels: int, rows: int):
        super().__init__()
        self.register_buffer("running_means", torch.zeros(rows, channels))
        self.register_buffer("running_vars", torch.ones(rows, channels))

    def at(self, truncation: float) -> tuple[Tensor, Tensor]:
        """Return mean and variance for a truncation, (channel) each.

        Between two rows the published code interpolates with swapped weights: just above a row, the
        next row has almost all the weight. We reproduce that code, so that images are the same,
        including quotients that rounding moves off an integer: 0.14 reads row 8, 0.58 row 28.
        """
        share, row = math.modf(truncation / (1 / (len(self.running_means) - 1)))
        row = int(row)
        if share == 0:
            return self.running_means[row], self.running_vars[row]
        mean, variance = (
            share * rows[row] + (1 - share) * rows[row + 1]
            for rows in (self.running_means, self.running_vars)
        )
        return mean, variance


class BatchNorm(_Statistics):
    """Batch normalisation of (image, channel, y, x) by stored statistics and an affine map."""

    def __init__(self, channels: int, rows: int, epsilon: float):
        super().__init__(channels, rows)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon

    def forward(self, x: Tensor, truncation: float) -> Tensor:
        """Normalise maps with the statistics of a truncation."""
        mean, variance = self.at(truncation)
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.epsilon)


class ConditionalBatchNorm(_Statistics):
    """Batch normalisation whose scale and shift depend on a condition (de Vries et al. 2017)."""

    def __init__(self, channels: int, condition: int, rows: int, epsilon: float):
        super().__init__(channels, rows)
        self.scale = SpectralLinear(condition, channels)
        self.offset = SpectralLinear(condition, channels)
        self.epsilon = epsilon

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        """Normalise maps (image, channel, y, x) given a condition (image, component)."""
        mean, variance = self.at(truncation)
        with full_precision(x):
            gain = (1 + self.scale(condition)) / torch.sqrt(variance + self.epsilon)
            shift = self.offset(condition) - mean * gain
        return torch.addcmul(shift[:, :, None, None], x, gain[:, :, None, None])


class Block(nn.Module):
    """Residual block with a bottleneck of a quarter of its input's channels.

    Its only module `relu` is called four times, on the normalised input of conv_0 to conv_3.
    """

    bn_0: ConditionalBatchNorm
    bn_1: ConditionalBatchNorm
    bn_2: ConditionalBatchNorm
    bn_3: ConditionalBatchNorm

    def __init__(
        self, before: int, after: int, *, upsamples: bool, condition: int, rows: int, epsilon: float
    ):
        super().__init__()
        middle = before // 4
        self.after, self.upsamples = after, upsamples
        self.relu = nn.ReLU()
        for index, channels in enumerate([before, middle, middle, middle]):
            norm = ConditionalBatchNorm(channels, condition, rows, epsilon)
            self.add_module(f"bn_{index}", norm)
        self.conv_0 = SpectralConvolution(before, middle, 1)
        self.conv_1 = SpectralConvolution(middle, middle, 3)
        self.conv_2 = SpectralConvolution(middle, middle, 3)
        self.conv_3 = SpectralConvolution(middle, after, 1)

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        """Map (image, before, y, x) to (image, after, y, x), twice as large if it upsamples."""
        y = self.conv_0(self.relu(self.bn_0(x, condition, truncation)))
        y = self._resized(self.relu(self.bn_1(y, condition, truncation)))
        y = self.relu(self.bn_2(self.conv_1(y), condition, truncation))
        y = self.relu(self.bn_3(self.conv_2(y), condition, truncation))
        # The skip path has no weights: it drops the surplus channels.
        return self.conv_3(y) + self._resized(x[:, : self.after])

    def _resized(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=2, mode="nearest") if self.upsamples else x


class Attention(nn.Module):
    """Self-attention over positions (Zhang et al. 2019) with keys and values pooled 2 x 2."""

    def __init__(self, channels: int):
        super().__init__()
        key, value = channels // 8, channels // 2
        self.snconv1x1_theta = SpectralConvolution(channels, key, 1, bias=False)
        self.snconv1x1_phi = SpectralConvolution(channels, key, 1, bias=False)
        self.snconv1x1_g = SpectralConvolution(channels, value, 1, bias=False)
        self.snconv1x1_o_conv = SpectralConvolution(value, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (image, channel, y, x) to maps of the same shape."""
        query = self.snconv1x1_theta(x).flatten(2)
        key = functional.max_pool2d(self.snconv1x1_phi(x), 2).flatten(2)
        value = functional.max_pool2d(self.snconv1x1_g(x), 2).flatten(2)
        weight = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # (image, position, key)
        found = (value @ weight.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.snconv1x1_o_conv(found)


class Synthesis(nn.Module):
    """Synthesis network from a condition (image, component) to images (image, rgb, y, x).

    Images are in [-1, 1]. Two blocks lead from each size to the next; only the second changes size
    and channels.
    """

    def __init__(
        self, channels: list[int], attention: int | None, condition: int, rows: int, epsilon: float
    ):
        super().__init__()
        last = channels[-1]
        self.gen_z = SpectralLinear(condition, FIRST_SIZE**2 * channels[0], bias=True)
        self.layers = nn.ModuleList()
        for index, (before, after) in enumerate(pairwise(channels)):
            if FIRST_SIZE * 2**index == attention:
                self.layers.append(Attention(before))
            self.layers.append(
                Block(
                    before, before, upsamples=False, condition=condition, rows=rows, epsilon=epsilon
                )
            )
            self.layers.append(
                Block(
                    before, after, upsamples=True, condition=condition, rows=rows, epsilon=epsilon
                )
            )
        self.bn = BatchNorm(last, rows, epsilon)
        self.relu = nn.ReLU()
        self.conv_to_rgb = SpectralConvolution(last, last, 3)  # only its first 3 channels are used

    def forward(self, condition: Tensor, truncation: float = 1.0) -> Tensor:
        """Return images.

        Raises:
            ValueError: The truncation is not in (0, 1].
        """
        if not 0 < truncation <= 1:
            raise UserError(
                f"truncation {truncation} is outside BigGAN's range: choose one above 0 and at "
                "most 1 (1 is none)."
            )
        # The published conversion kept TensorFlow's channels-last order here.
        x = self.gen_z(condition).unflatten(1, (FIRST_SIZE, FIRST_SIZE, -1)).permute(0, 3, 1, 2)
        for layer in self.layers:
            x = layer(x) if isinstance(layer, Attention) else layer(x, condition, truncation)
        x = self.conv_to_rgb(self.relu(self.bn(x, truncation)))
        return torch.tanh(x[:, :RGB])


class BigGANDeep(nn.Module):
    """Network from z and class to an image: `generator(condition(z, labels), truncation)`.

    Args:
        resolution: Height and width of a published network's images: 128, 256 or 512.
        channels: Channels at 4, 8, 16 .. pixels, instead of `resolution`, for any other network;
            they must not increase.
        attention: Height and width of the maps to which attention is applied; null for none.
        latent: Number of components of z.
        embedding: Number of components of the embedding of a class.
        classes: Number of classes.
        rows: Number of rows of batch statistics, for truncations from 0 to 1; at least 2.
        epsilon: Constant added to variances.

    Attributes:
        embeddings: Linear module from (image, class), one-hot or a mixture, to (image, embedding).
        generator: Module from (image, latent + embedding) and truncation to images; differentiable.

    Raises:
        ValueError: There is no such published network, or the channels are impossible.
    """

    truncates = True
    truncation_scales_z = True
    latent_bound = 2.0

    def __init__(
        self,
        resolution: int | None = None,
        *,
        channels: list[int] | None = None,
        attention: int | None = 64,
        latent: int = 128,
        embedding: int = 128,
        classes: int = 1000,
        rows: int = 51,
        epsilon: float = 1e-4,
    ):
        super().__init__()
        channels = _channels(resolution, channels, attention)
        if rows < 2:
            raise UserError(
                f"BigGAN-deep with rows: {rows}, but truncations 0 and 1 have a row each: give at "
                "least 2 in `architecture` of the entry."
            )
        self.latent_size, self.classes = latent, classes
        self.embeddings = nn.Linear(classes, embedding, bias=False)
        self.generator = Synthesis(channels, attention, latent + embedding, rows, epsilon)

    def condition(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the condition (image, component) of z (image, latent) and classes (image)."""
        return torch.cat([z, functional.embedding(labels, self.embeddings.weight.T)], dim=1)

    def forward(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Return images (image, rgb, y, x) in [-1, 1].

        Args:
            z: Latents (image, latent): truncation times normal values within -2 and 2.
            labels: Class indices (image) int64.
            truncation: Truncation that selects the batch statistics; a Python number in (0, 1].

        Raises:
            ValueError: There are no labels, or the truncation is out of range.
        """
        if labels is None:
            raise UserError(
                f"BigGAN-deep has {self.classes} classes and no labels say which to show: give "
                "one class index an image."
            )
        return self.generator(self.condition(z, labels), truncation)


def _channels(
    resolution: int | None, channels: list[int] | None, attention: int | None
) -> list[int]:
    """Return the channels at 4, 8, 16 .. pixels after validation."""
    if (resolution is None) == (channels is None):
        raise UserError(
            f"BigGAN-deep is given resolution {resolution} and channels {channels}: give one of "
            "the two and leave out the other."
        )
    if channels is None:
        if resolution not in CHANNELS:
            raise UserError(
                f"resolution {resolution} of BigGAN-deep is none of {', '.join(map(str, CHANNELS))}"
                ": choose one of them, or give its channels."
            )
        channels = CHANNELS[resolution]
    if len(channels) < 2 or channels[-1] < RGB or channels != sorted(channels, reverse=True):
        raise UserError(
            f"channels {channels} of BigGAN-deep: give at least two numbers, none larger than the "
            f"one before and the last at least {RGB}."
        )
    sizes = [FIRST_SIZE * 2**index for index in range(len(channels) - 1)]
    if attention is not None and attention not in sizes:
        raise UserError(
            f"attention {attention} of BigGAN-deep is no size of its maps: choose one of "
            f"{', '.join(map(str, sizes))}, or null for none."
        )
    return channels
