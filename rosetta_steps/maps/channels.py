"""Some channels of a store of maps, which may hold those of matched units alone."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from rosetta_steps.maps.store import MapReader
from rosetta_steps.runtime.errors import UserError

if TYPE_CHECKING:  # it would import torch, which pages need not wait for
    from torch import Tensor

    from rosetta_steps.maps.sources import MapSource


def places_of(maps: "MapSource", layer: str, channels: Iterable[int]) -> dict[int, int]:
    """Return the positions of channels in a store, which may hold only matched units.

    Args:
        maps: Maps of the model, stored or computed on the fly.
        layer: Name of the layer.
        channels: Numbers of the channels in the layer.

    Returns:
        Position in the store of each channel number.

    Raises:
        ValueError: The store has no such layer, or a channel is not stored.
    """
    if layer not in maps.layers:
        raise UserError(
            f"{_name(maps)} has no layer {layer!r}; it has {', '.join(maps.layers)}. Give the "
            "stores that the table was mined from."
        )
    kept = {number: place for place, number in enumerate(_channel_numbers(maps, layer))}
    if absent := [str(channel) for channel in channels if channel not in kept]:
        raise UserError(
            f"{_name(maps)}, layer {layer}: channel {', '.join(absent[:5])} is not there; it holds "
            "maps of matched units only. Give the store that goes with this table."
        )
    return {channel: kept[channel] for channel in channels}


def planes(maps: "MapSource", layer: str, block: slice, places: Sequence[int]) -> np.ndarray:
    """Read the maps of some channels, (image, channel, y, x); each chunk is decoded once.

    Args:
        maps: Maps of the model, stored or computed on the fly.
        layer: Name of the layer.
        block: Block of images.
        places: Positions of the channels in the store, ascending.

    Raises:
        StoreError: The store is damaged.
    """
    per_read = maps.channels_per_read(layer)
    parts = []
    for chunk, members in groupby(places, lambda place: place // per_read):
        start = chunk * per_read
        read = as_array(maps.read(layer, block, slice(start, start + per_read)))
        parts.append(read[:, [place - start for place in members]])
    return np.concatenate(parts, 1)


def as_array(maps: "np.ndarray | Tensor") -> np.ndarray:
    """Return maps that a source has read as an array in main memory."""
    return maps if isinstance(maps, np.ndarray) else maps.cpu().numpy()


def _channel_numbers(maps: "MapSource", layer: str) -> list[int]:
    # Only a store may hold some of the channels.
    if isinstance(maps, MapReader):
        return maps.channel_numbers(layer).tolist()
    return list(range(maps.channels[layer]))


def _name(maps: "MapSource") -> str:
    return (
        str(maps.store) if isinstance(maps, MapReader) else f"the stream of {maps.attrs['model']}"
    )
