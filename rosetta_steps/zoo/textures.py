"""Random images with the contrast of photographs: what a model is tested on without a data set."""

import torch
from torch import Tensor
from torch.nn import functional

FIRST_SEED = 1000  # of many


def textured(size: tuple[int, int], seed: int) -> Tensor:
    """Return an image (1, rgb, y, x) in [0, 1] with the contrast of photographs at every scale."""
    values = torch.Generator().manual_seed(seed)
    total, cells = torch.zeros(1, 3, *size), 2
    while cells < 2 * max(size):
        grid = [min(cells, side) for side in size]
        random = torch.randn(1, 3, *grid, generator=values)
        total += functional.interpolate(random, size, mode="bilinear")
        cells *= 2
    return (0.5 + 0.2 * (total - total.mean()) / total.std()).clamp(0, 1)


def textures(count: int) -> Tensor:
    """Return some such images of 128 x 128 pixels, always the same; a model resizes them itself."""
    return torch.cat([textured((128, 128), FIRST_SEED + number) for number in range(count)])
