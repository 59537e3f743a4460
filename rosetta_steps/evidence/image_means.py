"""Mean of every unit over the positions of each image, at every size at which it is compared.

With U the upsampling of a map to a larger size of s positions, the mean of the upsampled map is
a weighted sum of the map, with weights w = U'1 / s. U is separable, so that w is an outer product,
and no map is upsampled.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from tqdm import tqdm

from rosetta_steps.maps.moments import BLOCK_BYTES
from rosetta_steps.maps.resampling import Size, upsampling
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.runtime.budgets import image_blocks

Means: TypeAlias = dict[tuple[str, Size], np.ndarray]


def image_means(source: MapSource, sizes: Mapping[str, Sequence[Size]]) -> Means:
    """Mean over positions of every unit on every image, in one pass over the maps.

    Args:
        source: Maps of a model.
        sizes: For each layer the sizes at which its units are compared, none smaller than its own.

    Returns:
        By layer and size, (unit, image) float64, about the mean over images.
    """
    weights = {
        layer: torch.from_numpy(
            np.stack([_weights(source.sizes[layer], size).ravel() for size in of_layer], 1)
        ).to(source.device)
        for layer, of_layer in sizes.items()
    }
    shapes = {layer: (len(of), source.channels[layer]) for layer, of in sizes.items()}
    found = {layer: np.empty((*shape, source.images)) for layer, shape in shapes.items()}
    source.select_layers(list(sizes))
    title = f"image means of {source.attrs['model']}"
    with tqdm(total=source.images, desc=title, unit="image") as bar:
        for block in image_blocks(source.images, source.images_per_read(BLOCK_BYTES)):
            for layer, of_sizes in weights.items():
                maps = torch.as_tensor(source.read(layer, block)).double().flatten(2)
                found[layer][..., block] = (maps @ of_sizes).permute(2, 1, 0).cpu().numpy()
            bar.update(block.stop - block.start)
    return {
        (layer, size): values - values.mean(1, keepdims=True)
        for layer, of_layer in sizes.items()
        for size, values in zip(of_layer, found[layer], strict=True)
    }


def _weights(own: Size, size: Size) -> np.ndarray:
    of_y, of_x = (upsampling(o, s).mean(0) for o, s in zip(own, size, strict=True))
    return np.outer(of_y, of_x)
