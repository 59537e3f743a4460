"""The schedule of StyleGAN3: band limits, sampling rates and sizes of all layers.

Source: Karras et al. 2021, section 3.2 and appendix C. Frequencies are in cycles per image, rates
in samples per image.
"""

from dataclasses import dataclass
from math import ceil, log2


@dataclass(frozen=True)
class Signal:
    """Signal between two layers.

    Attributes:
        channels: Number of channels.
        cutoff: Frequency up to which it has content.
        half_width: Half width of the transition band.
        rate: Number of samples per image along each axis.
        size: Number of samples along each axis, including those outside the image.
    """

    channels: int
    cutoff: float
    half_width: float
    rate: int
    size: int

    @property
    def margin(self) -> int:
        """Number of samples on each side that lie outside the image."""
        return (self.size - self.rate) // 2


@dataclass(frozen=True)
class Step:
    """Properties of a layer, which turns one signal into the next.

    Attributes:
        before: Input signal.
        after: Output signal.
        critical: Whether it is critically sampled; its filters are then separable.
        to_rgb: Whether it is the last layer, which is linear and does not resample.
    """

    before: Signal
    after: Signal
    critical: bool
    to_rgb: bool

    @property
    def inner_rate(self) -> int:
        """Sampling rate at which the nonlinearity is applied."""
        return max(self.before.rate, self.after.rate) * (1 if self.to_rgb else 2)

    @property
    def up(self) -> int:
        """Upsampling factor before the nonlinearity."""
        return self.inner_rate // self.before.rate

    @property
    def down(self) -> int:
        """Downsampling factor after the nonlinearity."""
        return self.inner_rate // self.after.rate

    def padding(self, taps_up: int, taps_down: int, kernel: int) -> tuple[int, int]:
        """Return the zeros before and after the upsampled map that give the output's size.

        Args:
            taps_up: Length of the upsampling filter.
            taps_down: Length of the downsampling filter.
            kernel: Size of the convolution kernel, which enlarges the map by kernel - 1.

            Returns:
                Number of zeros before and after; negative numbers crop.
        """
        needed = (self.after.size - 1) * self.down + taps_up + taps_down - 1
        total = needed - (self.before.size + kernel - 1) * self.up
        first = (total + self.up) // 2
        return first, total - first


def signals(
    resolution: int,
    layers: int,
    *,
    critical: int,
    margin: int,
    cutoff: float,
    stopband: float,
    last_stopband_factor: float,
    channel_base: int,
    channel_max: int,
    after: Signal | None = None,
) -> list[Signal]:
    """Return the signals at layers 0 to `layers`; the last signal is the image.

    Args:
        resolution: Height and width of the image in pixels.
        layers: Number of layers before the one that outputs colours.
        critical: Number of them, at the end, that are critically sampled.
        margin: Number of samples outside the image on each side, except at the last two signals.
        cutoff: Cutoff frequency of the first signal.
        stopband: Frequency from which the first signal has no content.
        last_stopband_factor: Last stopband divided by half the resolution.
        channel_base: Number of channels times twice the cutoff, which determines the channels.
        channel_max: Maximum number of channels.
        after: Last signal of an earlier schedule (StyleGAN-XL), whose sampling and channels the
            first signal then has.
    """
    found = []
    for index in range(layers + 1):
        progress = min(index / (layers - critical), 1)
        frequency = cutoff * (resolution / 2 / cutoff) ** progress
        stop = stopband * (resolution / 2 * last_stopband_factor / stopband) ** progress
        rate = 2 ** ceil(log2(min(2 * stop, resolution)))
        channels = round(min(channel_base / 2 / frequency, channel_max))
        if index == 0 and after is not None:
            rate, channels = after.rate, after.channels
        found.append(
            Signal(
                channels=3 if index == layers else channels,
                cutoff=frequency,
                half_width=max(stop, rate / 2) - frequency,
                rate=rate,
                size=resolution if index >= layers - 1 else rate + 2 * margin,
            )
        )
    return found


def steps(found: list[Signal], critical: int) -> list[Step]:
    """Return the steps between signals; the first keeps the band of its input.

    Args:
        found: Signals, as `signals` returns them.
        critical: Number of critically sampled layers.
    """
    last = len(found) - 1
    return [
        Step(found[max(index - 1, 0)], signal, index >= last - critical, index == last)
        for index, signal in enumerate(found)
    ]
