"""Rectangles of the table whose sums fit into memory.

The sums of all pairs of units are held in memory during a pass over the images. If they do not fit,
the table is cut between layers, and each tile takes one pass over the images.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """Rectangle of the table.

    Attributes:
        a: Names of its layers of the first model, in the order of the forward pass.
        b: Names of its layers of the second model, in the order of the forward pass.
    """

    a: list[str]
    b: list[str]


def tiles_of(
    channels: tuple[Mapping[str, int], Mapping[str, int]],
    values: tuple[Mapping[str, int], Mapping[str, int]],
    pairs: float,
) -> list[Tile]:
    """Cut the table into tiles of at most `pairs` pairs of units so that the least data is read.

    Args:
        channels: Number of channels of each layer, for both models, in the order of the forward
            pass.
        values: Number of values of each layer for one image, for both models, in the same order.
        pairs: Maximum number of pairs of units in a tile; at least that of the two largest layers.
    """
    read = [sum(of_model.values()) for of_model in values]
    best = math.inf
    found: tuple[list[list[str]], list[list[str]]] | None = None
    for pieces in range(1, len(channels[0]) + 1):
        first = _cut(channels[0], math.ceil(sum(channels[0].values()) / pieces))
        widest = max(sum(channels[0][layer] for layer in part) for part in first)
        if widest * max(channels[1].values()) > pairs:
            continue
        second = _cut(channels[1], int(pairs // widest))
        cost = read[0] * len(second) + read[1] * len(first)
        if cost < best:
            best, found = cost, (first, second)
    assert found is not None, "a tile may have the two largest layers"
    return [Tile(*parts) for parts in itertools.product(*found)]


def _cut(channels: Mapping[str, int], most: int) -> list[list[str]]:
    """Cut layers into runs of at most `most` channels; a layer with more forms its own run."""
    parts: list[list[str]] = [[]]
    count = 0
    for layer, own in channels.items():
        if parts[-1] and count + own > most:
            parts.append([])
            count = 0
        parts[-1].append(layer)
        count += own
    return parts
