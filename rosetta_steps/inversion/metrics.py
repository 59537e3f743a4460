"""Closeness of images to their targets: PSNR, SSIM and perceptual distances of each image.

PSNR and SSIM are computed by torchmetrics. PSNR is 10 log10(1 / MSE) in dB over all pixels and
colours of images in [0, 1]. SSIM has its published defaults (Wang et al. 2004): Gaussian window of
11 x 11 pixels with a standard deviation of 1.5, K1 = 0.01, K2 = 0.03, range 1, covariances without
Bessel's correction. It is averaged over all positions at which the window lies inside the image,
and over the three colours.

A metric of one's own is one entry in `METRICS`; a config then names it under `metrics`.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from rosetta_steps.runtime.errors import UserError

if TYPE_CHECKING:  # the workflow reads the names while it is parsed, and torch takes seconds
    from torch import Tensor

WINDOW, DEVIATION = 11, 1.5  # of SSIM, in pixels


@dataclass(frozen=True)
class Metric:
    """Measure of the closeness of two images.

    Attributes:
        label: Its name in a config and the name of its column in a table.
        title: Its name in print.
        higher_is_better: Whether larger values mean closer images; False for distances.
        compare: Function from features of the images and of the targets to the value of each image,
            (image).
        features: Function that computes features from images (image, rgb, y, x) in [0, 1]; by
            default the images themselves.
        digits: Number of decimals in print. Four show where a generator's own images differ.
    """

    label: str
    title: str
    higher_is_better: bool
    compare: Callable[[Any, Any], "Tensor"]
    _: KW_ONLY
    features: Callable[["Tensor"], Any] = lambda images: images
    digits: int = 4


def psnr(images: "Tensor", targets: "Tensor") -> "Tensor":
    """Return the peak signal-to-noise ratio of each image in dB, (image).

    Images and targets are (image, rgb, y, x) in [0, 1]. Equal images give infinity.
    """
    # Imported here, because the import takes seconds.
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return peak_signal_noise_ratio(images, targets, data_range=1.0, reduction="none", dim=(1, 2, 3))


def ssim(images: "Tensor", targets: "Tensor") -> "Tensor":
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


METRICS = {
    metric.label: metric
    for metric in (
        Metric("psnr", "PSNR", True, psnr, digits=2),
        Metric("ssim", "SSIM", True, ssim),
    )
}
# The columns of the paper's Table 1 that every table has; others where a config names them.
IN_EVERY_TABLE = ("psnr", "ssim")
LPIPS = "lpips"


def networks_among(metrics: list[str]) -> list[str]:
    """Return the models among the names of metrics, which measure perceptual distances."""
    return [name for name in metrics if name not in METRICS and name != LPIPS]
