"""Target images in the size of the generator that they are inverted through."""

from torch import Tensor
from torch.nn import functional


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images in another size: bicubic, smoothed before they shrink, stretched and never cropped.

    Args:
        images: (image, rgb, y, x) in [0, 1].
        size: (y, x) in pixels.

    Returns:
        (image, rgb, y, x) in [0, 1]; the same tensor where the size is right.
    """
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return functional.interpolate(
        images, size, mode="bicubic", align_corners=False, antialias=True
    ).clamp(0, 1)
