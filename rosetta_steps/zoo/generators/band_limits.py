"""The schedule of StyleGAN3: band limits, sampling rates and sizes of all layers, by number.

Karras et al. 2021, section 3.2 and appendix C; frequencies are in cycles an image, rates in
samples an image.
"""

from dataclasses import dataclass
from math import ceil, log2


@dataclass(frozen=True)
class Signal:
    """What lies between two layers.

    Attributes:
        channels: Number of.
        cutoff: Frequency up to which it has content.
        half_width: Of the transition band above.
        rate: Samples an image.
        size: Samples along each axis, those beyond the image's borders included.
    """

    channels: int
    cutoff: float
    half_width: float
    rate: int
    size: int

    @property
    def margin(self) -> int:
        """Samples on each side that lie outside the image."""
        return (self.size - self.rate) // 2


@dataclass(frozen=True)
class Step:
    """A layer: from one signal to the next.

    Attributes:
        before: Its input.
        after: Its output.
        critical: Sampled as thinly as the image allows; its filters are separable.
        to_rgb: The last layer, linear and without resampling.
    """

    before: Signal
    after: Signal
    critical: bool
    to_rgb: bool

    @property
    def inner_rate(self) -> int:
        """Rate at which the nonlinearity works."""
        return max(self.before.rate, self.after.rate) * (1 if self.to_rgb else 2)

    @property
    def up(self) -> int:
        """Samples of the nonlinearity for one of the input."""
        return self.inner_rate // self.before.rate

    @property
    def down(self) -> int:
        """Samples of the nonlinearity for one of the output."""
        return self.inner_rate // self.after.rate

    def padding(self, taps_up: int, taps_down: int, kernel: int) -> tuple[int, int]:
        """Zeros before and after the upsampled map, negative to crop, that give the output's size.

        Args:
            taps_up: Of the upsampling filter.
            taps_down: Of the downsampling filter.
            kernel: Pixels of the convolution, which enlarges the map by one less.
        """
        needed = (self.after.size - 1) * self.down + taps_up + taps_down - 1
        total = needed - (self.before.size + kernel - 1) * self.up
        first = (total + self.up) // 2
        return first, total - first


def signals(
    resolution: int,
    layers: int,
    critical: int,
    margin: int,
    cutoff: float,
    stopband: float,
    last_stopband_factor: float,
    channel_base: int,
    channel_max: int,
    after: Signal | None = None,
) -> list[Signal]:
    """The signals at layers 0 to `layers`, the last of which is the image.

    Args:
        resolution: Of the image.
        layers: Before the one that makes the colours.
        critical: How many of them, the last ones, are sampled critically.
        margin: Samples outside the image on each side, except at the last two.
        cutoff: Of the first signal.
        stopband: Frequency from which the first signal has no content.
        last_stopband_factor: Last stopband over half the resolution.
        channel_base: Channels times twice the cutoff ...
        channel_max: ... but at most so many channels.
        after: What an earlier schedule ended with (StyleGAN-XL); the first signal is then sampled
            as it is and has as many channels.
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
    """The layers between signals; the first keeps the band of its input."""
    last = len(found) - 1
    return [
        Step(found[max(index - 1, 0)], signal, index >= last - critical, index == last)
        for index, signal in enumerate(found)
    ]
