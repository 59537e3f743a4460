"""Low-pass filters of StyleGAN3 (Karras et al. 2021, appendix C), by formula."""

import numpy as np
from scipy.special import j1


def kaiser_low_pass(taps: int, cutoff: float, half_width: float, rate: float) -> np.ndarray:
    """Return a windowed sinc filter along one axis, (tap) float64, of sum 1.

    Args:
        taps: Length of the filter.
        cutoff: Frequency at which it halves the amplitude, in cycles per image.
        half_width: Half width of the transition band, in cycles per image.
        rate: Number of samples per image.
    """
    offsets = np.arange(taps) - (taps - 1) / 2
    kernel = np.sinc(2 * cutoff / rate * offsets) * _window(taps, half_width, rate)
    return kernel / kernel.sum()


def radial_low_pass(taps: int, cutoff: float, half_width: float, rate: float) -> np.ndarray:
    """Return a radially symmetric windowed jinc filter, (tap y, tap x) float64, of sum 1.

    The arguments are those of kaiser_low_pass; `taps` is even, so that no tap is at the centre.
    """
    offsets = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(offsets[:, None], offsets)
    window = _window(taps, half_width, rate)
    kernel = j1(2 * np.pi * cutoff * radius) / radius * np.outer(window, window)
    return kernel / kernel.sum()


def _window(taps: int, half_width: float, rate: float) -> np.ndarray:
    # Kaiser's formulas give the attenuation that the taps achieve, and its window.
    attenuation = 2.285 * (taps - 1) * np.pi * (2 * half_width / (rate / 2)) + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    return np.kaiser(taps, beta)
