"""The synthesis network of StyleGAN3 (Karras et al. 2021), which StyleGAN-XL shares."""

from collections.abc import Sequence
from math import pi, sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rosetta_steps.zoo.generators.band_limits import Signal, Step
from rosetta_steps.zoo.generators.full_precision import full_precision
from rosetta_steps.zoo.generators.low_pass import kaiser_low_pass, radial_low_pass
from rosetta_steps.zoo.generators.mapping import FullyConnected, leaky_relu
from rosetta_steps.zoo.generators.modulated_convolution import modulated_convolution
from rosetta_steps.zoo.generators.resampling_filters import downsample, in_blocks, upsample
from rosetta_steps.zoo.generators.stylegan import check_w, clamped

# Absolute bound of all maps in the published networks, so that float16 cannot overflow.
CLAMP = 256
# Factor on the output of the last layer, which has about unit variance.
OUTPUT_SCALE = 0.25
# Places where published files state their settings; see zoo.generators.published_settings.
PUBLISHED = {
    "critical": ("synthesis:num_critical", "num_critical"),
    "margin": ("synthesis:margin_size", "margin_size"),
    "first_cutoff": ("synthesis.input:bandwidth", "first_cutoff"),
    "first_stopband": ("synthesis:first_stopband", "first_stopband"),
    "last_stopband_factor": ("synthesis:last_stopband_rel", "last_stopband_rel"),
    "clamp": ("synthesis.L*:conv_clamp", "conv_clamp"),
}
BUILT_IN = {"scale of the image": (OUTPUT_SCALE, ("synthesis:output_scale", "output_scale"))}
# Filter taps for each sample of the lower rate.
TAPS_PER_SAMPLE = 6


class Synthesis(nn.Module):
    """Synthesis network from w (image, layer, component) to images (image, rgb, y, x).

    It consists of Fourier features followed by layers.

    Args:
        w: Number of components of w.
        first: Signal that the Fourier features have.
        layers: Number and step of each layer.
        kernel: Size of the convolution kernels in pixels.
        radial: Whether downsampling filters are radially symmetric (not in critical layers).
        clamp: Absolute bound of all maps, or None.
    """

    def __init__(
        self,
        w: int,
        first: Signal,
        layers: Sequence[tuple[int, Step]],
        *,
        kernel: int,
        radial: bool,
        clamp: float | None,
    ):
        super().__init__()
        self.w, self.rows = w, len(layers) + 1
        self.input = FourierFeatures(w, first)
        self.layer_names = []
        for number, step in layers:
            name = f"L{number}_{step.after.size}_{step.after.channels}"
            self.add_module(name, Layer(w, step, kernel, radial, clamp))
            self.layer_names.append(name)

    def forward(self, w: Tensor) -> Tensor:
        """Return images of w, whose rows may differ between layers.

        Raises:
            ValueError: The shape of w does not fit.
        """
        check_w(w, self.rows, self.w)
        x = self.input(w[:, 0])
        for index, name in enumerate(self.layer_names):
            x = self.get_submodule(name)(x, w[:, index + 1])
        return x * OUTPUT_SCALE


class FourierFeatures(nn.Module):
    """Plane waves, translated and rotated by w and mixed into channels (section 3.2).

    Attributes:
        margin: Number of pixels on each side that lie outside the image.
    """

    nonlinearity = None
    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w: int, signal: Signal):
        super().__init__()
        self.signal, self.margin = signal, signal.margin
        self.weight = nn.Parameter(torch.randn(signal.channels, signal.channels))
        # Frequencies are uniformly distributed in the disc of the band.
        radius = torch.rand(signal.channels, 1).sqrt() * signal.cutoff
        angle = torch.rand(signal.channels, 1) * 2 * pi
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", radius * torch.cat([angle.cos(), angle.sin()], 1))
        self.register_buffer("phases", torch.rand(signal.channels) - 0.5)
        self.affine = FullyConnected(w, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, w: Tensor) -> Tensor:
        """Return features (image, channel, y, x) of one row of w (image, component)."""
        with full_precision(w):
            frequencies, phases = self._transformed(self.affine(w))
            rate, size, band = self.signal.rate, self.signal.size, self.signal.cutoff
            # Waves that the transform moves out of the band are faded out.
            excess = (frequencies.norm(dim=2) - band) / (rate / 2 - band)
            amplitudes = (1 - excess).clamp(0, 1)
            places = (torch.arange(size, device=w.device, dtype=w.dtype) + 0.5 - size / 2) / rate
            along_x = frequencies[:, None, None, :, 0] * places[:, None]
            along_y = frequencies[:, None, None, :, 1] * places[:, None, None]
            turns = along_x + along_y + phases[:, None, None]
            waves = (turns * (2 * pi)).sin() * amplitudes[:, None, None]
            weight = self.weight / sqrt(len(self.weight))
            return F.linear(waves, weight).permute(0, 3, 1, 2).contiguous()

    def _transformed(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Return frequencies (image, wave, xy), phases (image, wave) of a pose (cos, sin, x, y)."""
        pose = pose / pose[:, :2].norm(dim=1, keepdim=True)
        cosine, sine, x, y = pose.unbind(1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rotation = _matrix([[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one]])
        translation = _matrix([[one, zero, -x], [zero, one, -y], [zero, zero, one]])
        whole = rotation @ translation @ self.transform
        phases = self.phases + (self.freqs @ whole[:, :2, 2:]).squeeze(2)
        return self.freqs @ whole[:, :2, :2], phases


class Layer(nn.Module):
    """Layer whose output is the units' maps: modulated convolution, bias, oversampled leaky ReLU.

    Attributes:
        margin: Number of pixels on each side that lie outside the image.
        nonlinearity: Name of the nonlinearity; None for the layer that outputs colours.
    """

    magnitude_ema: Tensor
    up_filter: Tensor
    down_filter: Tensor

    def __init__(self, w: int, step: Step, kernel: int, radial: bool, clamp: float | None):
        super().__init__()
        self.step, self.margin, self.clamp = step, step.after.margin, clamp
        self.nonlinearity = None if step.to_rgb else "LeakyReLU"
        kernel = 1 if step.to_rgb else kernel
        before, after = step.before, step.after
        self.weight = nn.Parameter(torch.randn(after.channels, before.channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after.channels))
        self.register_buffer("magnitude_ema", torch.ones(()))
        up_filter = down_filter = None
        if not step.to_rgb:
            low_pass = radial_low_pass if radial and not step.critical else kaiser_low_pass
            up_filter = _filter(kaiser_low_pass, step.up, before, step.inner_rate)
            down_filter = _filter(low_pass, step.down, after, step.inner_rate)
        self.register_buffer("up_filter", up_filter)
        self.register_buffer("down_filter", down_filter)
        self.affine = FullyConnected(w, before.channels, bias=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return maps of size `step.after`.

        Args:
            x: Maps (image, channel, y, x).
            w: One row of w, (image, component).
        """
        _, inputs, kernel, _ = self.weight.shape
        styles, gain = self.affine(w), self.magnitude_ema.rsqrt()
        if self.step.to_rgb:
            styles = styles * (gain / sqrt(inputs))
            x = modulated_convolution(x, self.weight, styles, demodulate=False)
            return clamped(x + self.bias[:, None, None], self.clamp)
        x = modulated_convolution(x, self.weight, styles, padding=kernel - 1)
        x = x * gain + self.bias[:, None, None]
        return in_blocks(self._activate, x, growth=self.step.up**2)

    def _activate(self, x: Tensor) -> Tensor:
        """Apply a leaky ReLU of gain sqrt(2) between two filters (section 3.2, figure 4b)."""
        kernel = self.weight.shape[-1]
        taps = self.up_filter.shape[-1], self.down_filter.shape[-1]
        padding = self.step.padding(taps[0], taps[1], kernel)
        x = upsample(x, self.up_filter, self.step.up, *padding)
        x = clamped(leaky_relu(x), self.clamp)
        return downsample(x, self.down_filter, self.step.down)


def _filter(low_pass, factor: int, signal: Signal, rate: int) -> Tensor:
    taps = low_pass(TAPS_PER_SAMPLE * factor, signal.cutoff, signal.half_width, rate)
    return torch.as_tensor(taps.astype(np.float32))


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    """Stack entries of shape (image) to matrices (image, row, column)."""
    return torch.stack([torch.stack(row, 1) for row in rows], 1)
