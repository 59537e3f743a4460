"""Rectangles of the table whose sums fit into memory.

Sums of all pairs of units are held while images pass. Where they do not fit, the table is cut
between layers, and the images pass once a tile.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """Layers of one model against layers of another, both in the order of the forward pass."""

    a: list[str]
    b: list[str]


def tiles_of(
    channels: tuple[Mapping[str, int], Mapping[str, int]],
    values: tuple[Mapping[str, int], Mapping[str, int]],
    pairs: float,
) -> list[Tile]:
    """Cut the table into tiles of so many pairs of units, those for which the least is read.

    Args:
        channels: Of each layer of both models, in the order of the forward pass.
        values: Read of each layer for an image, likewise.
        pairs: Of units in a tile at most; at least those of the two largest layers.
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
    """Runs of layers of at most so many channels, where a layer alone does not exceed them."""
    parts: list[list[str]] = [[]]
    count = 0
    for layer, own in channels.items():
        if parts[-1] and count + own > most:
            parts.append([])
            count = 0
        parts[-1].append(layer)
        count += own
    return parts
