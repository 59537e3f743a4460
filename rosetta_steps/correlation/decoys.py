"""Decoys: the same correlations with the images of one model moved, so that no pair is a match.

What best buddies of such a table reach is what matching as such gives on these images
(target-decoy competition; evidence.decoys turns it into a q-value). Images are moved within the
block that is in memory, and only to images of the same class: under the null hypothesis these are
exchangeable, whether or not a folder was sorted.
"""

import numpy as np

SEED = 0


def moved_images(images: slice, decoys: int, labels: np.ndarray | None = None) -> np.ndarray:
    """For every image of a block, the image whose maps of the second model take its place.

    A random cycle through all images of a class, so that none keeps its own maps. The cycle follows
    from the number of the decoy and the first image of the block alone.

    Args:
        images: The block.
        decoys: Number of decoys.
        labels: Class of each image of the block, (image); None: all are of one.

    Returns:
        (decoy, image) positions within the block. An image that is alone in its class stays.
    """
    count = images.stop - images.start
    labels = np.zeros(count, np.int64) if labels is None else labels
    moved = np.tile(np.arange(count), (decoys, 1))
    for decoy in range(decoys):
        draw = np.random.default_rng([SEED, decoy, images.start])
        for label in np.unique(labels):
            cycle = draw.permutation(np.flatnonzero(labels == label))
            moved[decoy, cycle] = np.roll(cycle, 1)
    return moved


def images_that_stay(images: slice, labels: np.ndarray | None = None) -> int:
    """Number of images of a block that no decoy can move, alone in their class."""
    if labels is None:
        return int(images.stop - images.start == 1)
    return int((np.unique(labels, return_counts=True)[1] == 1).sum())
