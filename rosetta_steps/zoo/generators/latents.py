"""Latents that depend only on a seed and the number of the image."""

import numpy as np

SEEDS = 2**32  # bound of seeds; larger keys belong to starts (inversion.latents.STARTS)


def latent(seed: int, image: int, components: int, bound: float | None = None) -> np.ndarray:
    """Return z of one image, (latent) float32, which depends only on the arguments.

    Args:
        seed: Seed of the sample set.
        image: Number of the image in the sample set.
        components: Number of components of z.
        bound: Bound within which z is normal; None for standard normal z.
    """
    stream = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, image]))
    if bound is None:
        return stream.standard_normal(components, dtype=np.float32)
    from scipy.special import ndtr, ndtri

    return ndtri(stream.uniform(ndtr(-bound), ndtr(bound), components)).astype(np.float32)
