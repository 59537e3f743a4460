"""StyleGAN2 (Karras et al. 2020), the skip generator of its configuration F.

State dicts have the layout of NVIDIA's PyTorch files; with classes, that of the ADA version (Karras
et al. 2020b).
"""

from functools import partial
from math import log2, sqrt

import torch
from torch import Tensor, nn

from rosetta_steps.zoo.generators.mapping import FullyConnected, Mapping, leaky_relu
from rosetta_steps.zoo.generators.modulated_convolution import modulated_convolution
from rosetta_steps.zoo.generators.resampling_filters import downsample, in_blocks, upsample
from rosetta_steps.zoo.generators.stylegan import StyleGAN, check_resolution, check_w, clamped


class StyleGAN2(StyleGAN):
    """Network from z (image, latent) to images (image, rgb, y, x) in about [-1, 1].

    The noise is the stored `noise_const`, so that the same z gives the same image.

    Args:
        resolution: Height and width of the image in pixels.
        latent: Number of components of z.
        w: Number of components of w.
        classes: Number of classes; 0 if it is unconditional.
        mapping_layers: Number of fully connected layers from z to w.
        channel_base: Number of channels times resolution of a block, which determines the channels.
        channel_max: Maximum number of channels.
        clamp: Absolute bound of all maps and colours: 256 in most files trained with PyTorch, none
            in those trained with TensorFlow. It must agree with a file that states it.

    Raises:
        ValueError: The resolution is no power of two.
    """

    # The second names are used in TensorFlow files.
    published = StyleGAN.published | {
        "resolution": (*StyleGAN.published["resolution"], "resolution"),
        "latent": (*StyleGAN.published["latent"], "latent_size"),
        "w": (*StyleGAN.published["w"], "dlatent_size"),
        "classes": (*StyleGAN.published["classes"], "label_size"),
        "mapping_layers": (*StyleGAN.published["mapping_layers"], "mapping_layers"),
        "channel_max": ("channel_max", "fmap_max"),
        "clamp": ("synthesis.b*:conv_clamp", "conv_clamp"),
    }
    absent_in_tensorflow = {"clamp": None}
    built_in = StyleGAN.built_in | {
        "activation": ("lrelu", ("synthesis.b*.conv?:activation", "activation", "nonlinearity")),
        "filter": ([1, 3, 3, 1], ("resample_kernel",)),  # PyTorch files have it as a tensor
    }

    def __init__(
        self,
        resolution: int,
        *,
        latent: int = 512,
        w: int = 512,
        classes: int = 0,
        mapping_layers: int = 8,
        channel_base: int = 32768,
        channel_max: int = 512,
        clamp: float | None = None,
    ):
        check_resolution(resolution, 4)
        synthesis = Synthesis(resolution, w, channel_base, channel_max, clamp)
        mapping = Mapping(latent, w, synthesis.rows, mapping_layers, classes=classes)
        super().__init__(synthesis, mapping, latent, classes)


class Synthesis(nn.Module):
    """Synthesis network from w (image, layer, component) to images.

    It has a block for each resolution from 4 on.
    """

    def __init__(
        self, resolution: int, w: int, channel_base: int, channel_max: int, clamp: float | None
    ):
        super().__init__()
        self.w = w
        self.resolutions = [2**power for power in range(2, int(log2(resolution)) + 1)]
        # w has two rows for 4 x 4 and two more for each next block, whose first convolution shares
        # the row of the toRGB layer before it.
        self.rows = 2 * len(self.resolutions)
        before = 0
        for size in self.resolutions:
            channels = min(channel_base // size, channel_max)
            self.add_module(f"b{size}", Block(before, channels, size, w, clamp))
            before = channels

    def forward(self, w: Tensor) -> Tensor:
        """Return images of w, whose rows may differ between layers.

        Raises:
            ValueError: The shape of w does not fit.
        """
        check_w(w, self.rows, self.w)
        x: Tensor | None = None
        image: Tensor | None = None
        for index, size in enumerate(self.resolutions):
            first = max(2 * index - 1, 0)
            x, image = self.get_submodule(f"b{size}")(x, image, w[:, first : 2 * index + 2])
        assert image is not None, "there is a block of 4 x 4"
        return image


class Block(nn.Module):
    """Block that computes features and image of one resolution from those of half of it.

    Args:
        inputs: Number of input channels; 0 for the first block, which begins with a constant.
        channels: Number of channels of this block.
        size: Height and width in pixels.
        w: Number of components of w.
        clamp: Absolute bound of all values, or None.
    """

    resample_filter: Tensor

    def __init__(self, inputs: int, channels: int, size: int, w: int, clamp: float | None):
        super().__init__()
        self.register_buffer("resample_filter", binomial())
        if inputs:
            self.conv0 = Layer(inputs, channels, size, w, clamp=clamp, double=True)
        else:
            self.const = nn.Parameter(torch.randn(channels, size, size))
        self.conv1 = Layer(channels, channels, size, w, clamp=clamp)
        self.torgb = ToRGB(channels, w, clamp)

    def forward(self, x: Tensor | None, image: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and image; w has a row for each layer, x and image are None at first."""
        x = self.const.expand(len(w), -1, -1, -1) if x is None else self.conv0(x, w[:, 0])
        x = self.conv1(x, w[:, -2])
        colours = self.torgb(x, w[:, -1])
        if image is not None:
            colours = upsample(image, self.resample_filter, 2, 2, 1) + colours
        return x, colours


class Layer(nn.Module):
    """Layer whose output is the units' maps: modulated convolution, noise, bias and leaky ReLU.

    Args:
        inputs: Number of input channels.
        channels: Number of output channels.
        size: Height and width of the output in pixels.
        w: Number of components of w.
        clamp: Absolute bound of the output, or None.
        double: Whether it doubles the size of the input.
    """

    nonlinearity = "LeakyReLU"
    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        inputs: int,
        channels: int,
        size: int,
        w: int,
        *,
        clamp: float | None,
        double: bool = False,
    ):
        super().__init__()
        self.clamp, self.doubles = clamp, double
        self.weight = nn.Parameter(torch.randn(channels, inputs, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("resample_filter", binomial())
        self.register_buffer("noise_const", torch.randn(size, size))
        self.affine = FullyConnected(w, inputs, bias=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return maps of `size` from x (image, channel, y, x) and a row of w (image, component)."""
        styles = self.affine(w)
        if self.doubles:
            x = modulated_convolution(x, self.weight, styles, double=True)
            smooth = partial(downsample, kernel=self.resample_filter * 4, factor=1, padding=1)
            x = in_blocks(smooth, x)
        else:
            x = modulated_convolution(x, self.weight, styles, padding=1)
        x = x + (self.noise_const * self.noise_strength + self.bias[:, None, None])
        return clamped(leaky_relu(x), self.clamp)


class ToRGB(nn.Module):
    """Linear layer, without demodulation, for the colours (image, rgb, y, x) of a block."""

    nonlinearity = None

    def __init__(self, inputs: int, w: int, clamp: float | None):
        super().__init__()
        self.clamp = clamp
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.affine = FullyConnected(w, inputs, bias=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return colours from x (image, channel, y, x) and one row of w (image, component)."""
        styles = self.affine(w) / sqrt(self.weight.shape[1])
        x = modulated_convolution(x, self.weight, styles, demodulate=False)
        return clamped(x + self.bias[:, None, None], self.clamp)


def binomial() -> Tensor:
    """Return the low-pass filter [1, 3, 3, 1] along both axes, (tap y, tap x), of sum 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(taps, taps)
