"""StyleGAN2 (Karras et al. 2020), the skip generator of its configuration F.

State dicts are those of NVIDIA's PyTorch files, with classes those of the ADA version (Karras et
al. 2020b).
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
    """z (image, latent) to images (image, rgb, y, x) in about [-1, 1].

    The noise is the stored `noise_const`: the same z gives the same image.

    Args:
        resolution: Of the image, in pixels.
        latent: Components of z.
        w: Components of w.
        classes: 0 where it is unconditional.
        mapping_layers: Fully connected layers from z to w.
        channel_base: Channels times resolution of a block ...
        channel_max: ... but at most so many channels.
        clamp: Bound of all maps and colours; 256 in most files trained with PyTorch, none in those
            trained with TensorFlow. A file that states it is held against it.

    Raises:
        ValueError: The resolution is no power of two.
    """

    # The second names are those of the TensorFlow files.
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
        "filter": ([1, 3, 3, 1], ("resample_kernel",)),  # PyTorch files have it among their tensors
    }

    def __init__(
        self,
        resolution: int,
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
        mapping = Mapping(latent, w, synthesis.rows, mapping_layers, classes)
        super().__init__(synthesis, mapping, latent, classes)


class Synthesis(nn.Module):
    """w (image, layer, component) to images: a block for each resolution from 4 on."""

    def __init__(
        self, resolution: int, w: int, channel_base: int, channel_max: int, clamp: float | None
    ):
        super().__init__()
        self.w = w
        self.resolutions = [2**power for power in range(2, int(log2(resolution)) + 1)]
        # Two rows for 4 x 4 and two more for each next block: its first convolution shares the
        # row of the toRGB before.
        self.rows = 2 * len(self.resolutions)
        before = 0
        for size in self.resolutions:
            channels = min(channel_base // size, channel_max)
            self.add_module(f"b{size}", Block(before, channels, size, w, clamp))
            before = channels

    def forward(self, w: Tensor) -> Tensor:
        """Generate; w may have other rows for other layers.

        Raises:
            ValueError: w has another shape.
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
    """Features and image of one resolution from those of half of it.

    Args:
        inputs: Channels before; 0 for the first block, which begins with a constant.
        channels: Of this block.
        size: Pixels along each axis.
        w: Components of w.
        clamp: Bound of all values, or None.
    """

    resample_filter: Tensor

    def __init__(self, inputs: int, channels: int, size: int, w: int, clamp: float | None):
        super().__init__()
        self.register_buffer("resample_filter", binomial())
        if inputs:
            self.conv0 = Layer(inputs, channels, size, w, clamp, double=True)
        else:
            self.const = nn.Parameter(torch.randn(channels, size, size))
        self.conv1 = Layer(channels, channels, size, w, clamp)
        self.torgb = ToRGB(channels, w, clamp)

    def forward(self, x: Tensor | None, image: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        """Take a row of w for each layer in turn; x and image are None at first."""
        x = self.const.expand(len(w), -1, -1, -1) if x is None else self.conv0(x, w[:, 0])
        x = self.conv1(x, w[:, -2])
        colours = self.torgb(x, w[:, -1])
        if image is not None:
            colours = upsample(image, self.resample_filter, 2, 2, 1) + colours
        return x, colours


class Layer(nn.Module):
    """Modulated convolution, noise, bias and leaky ReLU; its output are the units' maps.

    Args:
        inputs: Channels before.
        channels: Of the output.
        size: Pixels of the output along each axis.
        w: Components of w.
        clamp: Bound of the output, or None.
        double: The input has half the size.
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
        """x (image, channel, y, x) and one row w (image, component) to a map of `size`."""
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
    """The colours (image, rgb, y, x) that a block adds: linear, without demodulation."""

    nonlinearity = None

    def __init__(self, inputs: int, w: int, clamp: float | None):
        super().__init__()
        self.clamp = clamp
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.affine = FullyConnected(w, inputs, bias=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x (image, channel, y, x) and one row w (image, component) to colours."""
        styles = self.affine(w) / sqrt(self.weight.shape[1])
        x = modulated_convolution(x, self.weight, styles, demodulate=False)
        return clamped(x + self.bias[:, None, None], self.clamp)


def binomial() -> Tensor:
    """The low-pass filter [1, 3, 3, 1] along both axes, (tap y, tap x), of sum 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(taps, taps)
