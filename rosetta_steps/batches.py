"""How many images go through a model at once, so that memory follows from the layers."""

from math import prod

# Maps of one batch in float32; a forward pass holds a few of them besides those that are kept.
KEPT_BYTES = 2e9
LARGEST_MAP_BYTES = 0.25e9


def images_at_once(layers: list, kept: list, most: int) -> int:
    """Images of one forward pass: as many as fit, at least one.

    Args:
        layers: All layers of the model (zoo.taps.Layer).
        kept: Those whose maps are kept until the batch is done.
        most: No more than these.
    """
    largest = max((_bytes(layer) for layer in layers), default=0)
    together = sum(_bytes(layer) for layer in kept)
    fits = min(KEPT_BYTES // max(together, 1), LARGEST_MAP_BYTES // max(largest, 1))
    return int(max(1, min(most, fits)))


def _bytes(layer) -> int:
    return 4 * layer.channels * prod(layer.size)
