"""Closeness of images to their targets: PSNR, SSIM and perceptual distances of each image.

PSNR and SSIM are computed by torchmetrics. PSNR is 10 log10(1 / MSE) in dB over all pixels and
colours of images in [0, 1]. SSIM has its published defaults (Wang et al. 2004): Gaussian window of
11 x 11 pixels with a standard deviation of 1.5, K1 = 0.01, K2 = 0.03, range 1, covariances without
Bessel's correction. It is averaged over all positions at which the window lies inside the image,
and over the three colours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rosetta_steps.inversion.perceptual import distance_of
from rosetta_steps.runtime.errors import UserError

WINDOW, DEVIATION = 11, 1.5  # of SSIM, in pixels


@dataclass(frozen=True)
class Metric:
    """Measure of the closeness of two images.

    Attributes:
        label: Name of its column in a table.
        higher_is_better: Whether larger values mean closer images; False for distances.
        features: Function that computes features from images (image, rgb, y, x) in [0, 1].
        compare: Function from features of the images and of the targets to the value of each image,
            (image).
    """

    label: str
    higher_is_better: bool
    features: Callable[[Tensor], Any]
    compare: Callable[[Any, Any], Tensor]


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB, (image).

    Images and targets are (image, rgb, y, x) in [0, 1]. Equal images give infinity.
    """
    # Imported here, because the import takes seconds.
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return peak_signal_noise_ratio(images, targets, data_range=1.0, reduction="none", dim=(1, 2, 3))


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Return the structural similarity of each image, (image) in [-1, 1].

    Images and targets are (image, rgb, y, x) in [0, 1].

    Raises:
        ValueError: The images are smaller than the window.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    y, x = images.shape[2:]
    if min(y, x) < WINDOW:
        raise UserError(
            f"images of {y} x {x} pixels have no SSIM: its window is {WINDOW} x {WINDOW}."
        )
    _, everywhere = structural_similarity_index_measure(
        images,
        targets,
        sigma=DEVIATION,
        kernel_size=WINDOW,
        reduction="none",
        data_range=1.0,
        k1=0.01,
        k2=0.03,
        return_full_image=True,
    )
    # torchmetrics mirrors the image at its borders; whether it counts them depends on its version.
    border = WINDOW // 2
    return everywhere[:, :, border:-border, border:-border].mean((1, 2, 3))


def _itself(images: Tensor) -> Tensor:
    return images


PSNR = Metric("psnr", True, _itself, psnr)
SSIM = Metric("ssim", True, _itself, ssim)


def metrics_of(names: Sequence[str], zoo: str, size: int, device: str) -> list[Metric]:
    """Return PSNR, SSIM and the named perceptual distances.

    Args:
        names: Names of the perceptual distances: "lpips", or models of the zoo.
        zoo: Path of the file with the entries.
        size: Height and width of the input of a model of the zoo, in pixels.
        device: "cpu" or "cuda".

    Raises:
        ValueError: There is no such network, or its weights are not available.
    """
    distances = [distance_of(name, zoo, size, device) for name in dict.fromkeys(names)]
    return [PSNR, SSIM, *(Metric(d.label, False, d.features, d.distance) for d in distances)]
