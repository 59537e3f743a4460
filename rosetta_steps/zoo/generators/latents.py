"""Latents that depend on a seed and the number of their image alone."""

import numpy as np

SEEDS = 2**32  # from here on lie the random starts of inversions (inversion.latents.STARTS)


def latent(seed: int, image: int, components: int, bound: float | None = None) -> np.ndarray:
    """z of one image, (latent) float32: it depends on these numbers alone.

    Args:
        seed: Of the sample set.
        image: Its number in the sample set.
        components: Of z.
        bound: Normal within -bound and bound; None: standard normal.
    """
    stream = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, image]))
    if bound is None:
        return stream.standard_normal(components, dtype=np.float32)
    from scipy.special import ndtr, ndtri

    return ndtri(stream.uniform(ndtr(-bound), ndtr(bound), components)).astype(np.float32)
