"""The modulated convolution of the StyleGANs, whose kernel is scaled by a style per image."""

import torch.nn.functional as F
from torch import Tensor

from rosetta_steps.zoo.generators.full_precision import full_precision


def modulated_convolution(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    padding: int = 0,
    double: bool = False,
) -> Tensor:
    """Convolve each image with its own kernel, w[o, i] * s[i] (StyleGAN2, eqs. 1 and 3).

    The style is applied to the input and the demodulation to the output. By linearity the result is
    the same, and all images share one kernel.

    Args:
        x: Maps (image, channel, y, x).
        weight: Kernel (output channel, channel, y, x).
        styles: Styles (image, channel).
        demodulate: Whether each output channel of a kernel is scaled to unit norm (eq. 3).
        padding: Number of zeros on each side.
        double: Whether to use a transposed convolution of stride 2, which turns a map of n pixels
            into one of 2n + 1 (with 3 x 3 kernels).

    Returns:
        Maps (image, output channel, y, x).
    """
    if demodulate:
        with full_precision(x):
            # Neither factor changes the demodulated kernel. They keep all sums near 1, so that
            # float16 cannot overflow. The mean is over one image, so images are independent.
            weight = F.normalize(weight.flatten(1), dim=1).view_as(weight)
            styles = styles * (styles.square().mean(1, keepdim=True) + 1e-12).rsqrt()
            norms = F.linear(styles.square(), weight.square().sum((2, 3)))
            scales = (norms + 1e-8).rsqrt()
    x = x * styles[:, :, None, None]
    if double:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2, padding=padding)
    else:
        x = F.conv2d(x, weight, padding=padding)
    return x * scales[:, :, None, None] if demodulate else x
