"""Some channels of a store of maps, which may hold those of matched units alone."""

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from rosetta_steps.maps.store import MapReader
from rosetta_steps.runtime.errors import UserError


def places_of(maps: MapReader, layer: str, channels: Iterable[int]) -> dict[int, int]:
    """Where channels stand among those that are stored; a store of matched units has only some.

    Args:
        maps: Of the model.
        layer: Its name.
        channels: Their numbers in the layer.

    Raises:
        ValueError: There is no such layer, or one of them is not stored.
    """
    if layer not in maps.layers:
        raise UserError(
            f"{maps.store} has no layer {layer!r}; it has {', '.join(maps.layers)}. Give the "
            "stores that the table was mined from."
        )
    kept = {number: place for place, number in enumerate(maps.numbers(layer).tolist())}
    if absent := [str(channel) for channel in channels if channel not in kept]:
        raise UserError(
            f"{maps.store}, layer {layer}: channel {', '.join(absent[:5])} is not there; it holds "
            "maps of matched units only. Give the store that goes with this table."
        )
    return {channel: kept[channel] for channel in channels}


def planes(maps: MapReader, layer: str, block: slice, places: Sequence[int]) -> np.ndarray:
    """Maps of some channels, (image, channel, y, x), of which each chunk is decoded once.

    Args:
        maps: Of the model.
        layer: Its name.
        block: Of images.
        places: Of the channels among those that are stored, in ascending order.

    Raises:
        StoreError: The store is damaged.
    """
    grain = maps.grain(layer)
    parts = []
    for chunk, members in groupby(places, lambda place: place // grain):
        start = chunk * grain
        read = maps.read(layer, block, slice(start, start + grain))
        parts.append(read[:, [place - start for place in members]])
    return np.concatenate(parts, 1)
