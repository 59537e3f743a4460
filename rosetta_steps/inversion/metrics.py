"""How close images are to their targets: PSNR, SSIM and perceptual distances, image by image.

PSNR and SSIM are torchmetrics'. PSNR is 10 log10(1 / MSE) in dB, over all pixels and colours, of
images in [0, 1]. SSIM has its published defaults (Wang et al. 2004): Gaussian window of 11 x 11
pixels with a standard deviation of 1.5, K1 = 0.01, K2 = 0.03, range 1, covariances without Bessel's
correction; the mean over all positions at which the window lies inside the image, and over the
three colours.
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
    """Closeness of two images.

    Attributes:
        label: Column of a table.
        higher_is_better: False of distances.
        features: What it needs of images (image, rgb, y, x) in [0, 1].
        compare: Value of each image, (image), from features of the images and of the targets.
    """

    label: str
    higher_is_better: bool
    features: Callable[[Tensor], Any]
    compare: Callable[[Any, Any], Tensor]


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, (image); both (image, rgb, y, x) in [0, 1].

    Infinite where both are equal.
    """
    # Imported where it is used, because it takes seconds.
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return peak_signal_noise_ratio(images, targets, data_range=1.0, reduction="none", dim=(1, 2, 3))


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity of each image, (image) in [-1, 1]; both (image, rgb, y, x) in [0, 1].

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
    # torchmetrics mirrors the image at its borders, and from version to version counts them or not.
    border = WINDOW // 2
    return everywhere[:, :, border:-border, border:-border].mean((1, 2, 3))


def _itself(images: Tensor) -> Tensor:
    return images


PSNR = Metric("psnr", True, _itself, psnr)
SSIM = Metric("ssim", True, _itself, ssim)


def metrics_of(names: Sequence[str], zoo: str, size: int, device: str) -> list[Metric]:
    """PSNR, SSIM, and perceptual distances by their names: lpips, or models of the zoo.

    Args:
        names: Of the perceptual distances.
        zoo: File with the entries.
        size: Pixels a side of what a model of the zoo sees.
        device: "cpu" or "cuda".

    Raises:
        ValueError: There is no such network, or its weights cannot be had.
    """
    distances = [distance_of(name, zoo, size, device) for name in dict.fromkeys(names)]
    return [PSNR, SSIM, *(Metric(d.label, False, d.features, d.distance) for d in distances)]
