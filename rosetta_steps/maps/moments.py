"""Moments of every unit of stored or running maps, in passes over the images."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from math import prod
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from rosetta_steps.maps.moment_sums import MomentSums
from rosetta_steps.maps.settings import SUM_BYTES
from rosetta_steps.maps.sources import MapSource, is_stream, open_maps
from rosetta_steps.maps.splits import PREFIX, refuse_splits, split_of
from rosetta_steps.maps.statistics import bytes_of_sums
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest

# Of a pass over the images: the maps of a block of images.
BLOCK_BYTES = 0.2e9
# On a GPU these, and the sums of the layers, as shares of the memory that is free.
SUM_SHARE, BLOCK_SHARE = 0.4, 0.05
# Of the maps that a thread adds before it takes others.
PART_BYTES = {"cpu": 8e6, "cuda": 1e9}


def measure(
    maps: Path, output: Path, splits: int = 1, threads: int = 1, identity: str | None = None
) -> None:
    """Read maps and write their moments.

    A store is read once. A stream runs once for as many layers as memory has room for the sums of.

    Args:
        maps: Store of activations, or stream.
        output: Store to write.
        splits: Parts of the images (splits.split_of) whose moments are kept as well, with a
            dimension `split` and names that begin with split_; 1: none.
        threads: At work on channels at the same time.
        identity: As Provenance has it.

    Raises:
        StoreError: The activations are damaged.
        ValueError: There are fewer images than the splits need.
    """
    source = open_maps(maps)
    refuse_splits(source.images, splits)
    with ThreadPoolExecutor(threads if source.device == "cpu" else 1) as pool:
        layers = dict(moments_of_layers(source, groups_of_layers(source, splits), splits, pool))
    write_moments(source, layers, maps, output, identity)


def write_moments(
    source: MapSource,
    layers: Mapping[str, xr.Dataset],
    maps: Path,
    output: Path,
    identity: str | None = None,
) -> None:
    """Write the moments of a model.

    Args:
        source: Its maps.
        layers: Moments of each layer, in any order.
        maps: Store or stream of the maps.
        output: Store to write.
        identity: As Provenance has it.
    """
    ordered = {f"/{name}": layers[name] for name in source.layers}
    root = xr.Dataset(attrs=source.attrs)
    model, sample_set = source.attrs["model"], source.state["sample_set"]
    provenance = Provenance("moments", [model], sample_set, ingredients([maps]), identity)
    write_dataset(xr.DataTree.from_dict({"/": root, **ordered}), output, provenance)


def moments_of_layers(
    source: MapSource, groups: Sequence[Sequence[str]], splits: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[str, xr.Dataset]]:
    """Read maps, a pass over the images for each group of layers.

    Args:
        source: The maps.
        groups: Layers whose sums are in memory together.
        splits: As `measure` has them.
        pool: Threads that read and add.

    Yields:
        Name and moments of each layer.
    """
    of_block = budgets(source.device)[1]
    title = f"moments of {source.attrs['model']}"
    with tqdm(
        total=source.images * len(groups), desc=title, unit="image", disable=not groups
    ) as bar:
        for group in groups:
            source.select_layers(group)
            sums = SumsOfLayers(source, group, splits)
            together = source.images_per_read(of_block)
            blocks = image_blocks(source.images, together)
            parts = [part for name in group for part in _parts(source, name, together)]

            def read(block: slice, layer: str, channels: slice, sums=sums) -> None:
                sums.add(block, layer, source.read(layer, block, channels), channels.start)

            source.prefetch(blocks[0])
            for block, following in zip_longest(blocks, blocks[1:]):
                if following is not None:
                    source.prefetch(following)
                list(pool.map(read, [block] * len(parts), *zip(*parts, strict=True)))
                bar.update(block.stop - block.start)
            yield from sums.moments()


class SumsOfLayers:
    """Sums over the images of some layers of a model, and of each split.

    Args:
        source: Maps of the model.
        layers: Names of the layers.
        splits: As `measure` has them.
        device: Device of the sums; None takes that of the maps.
    """

    def __init__(
        self, source: MapSource, layers: Sequence[str], splits: int, device: str | None = None
    ):
        self.source, self._split = source, split_of(source.images, splits)
        self._sums = {
            name: [
                MomentSums(source.channels[name], source.sizes[name], device or source.device)
                for _ in range(splits)
            ]
            for name in layers
        }

    @property
    def layers(self) -> list[str]:
        """Names of the layers."""
        return list(self._sums)

    def add(self, block: slice, layer: str, maps: np.ndarray | Tensor, first: int = 0) -> None:
        """Add maps (image, channel, y, x) of a block of images, from some channel on.

        Blocks of the same channels must be added in the order of the images, one after the other:
        then the sums have the same bits whatever the blocks are.
        """
        for number, of_split in enumerate(self._sums[layer]):
            whole = len(self._sums[layer]) == 1
            of_split.add(maps if whole else maps[self._split[block] == number], first)

    def submit(
        self, pool: ThreadPoolExecutor, block: slice, maps: Mapping[str, np.ndarray | Tensor]
    ) -> list[Future[None]]:
        """Have threads add the maps of a block; they can be used and not changed meanwhile."""
        of_layers = {name: maps[name] for name in self._sums}
        images = block.stop - block.start
        return [
            pool.submit(self.add, block, name, of_layers[name][:, channels], channels.start)
            for name in of_layers
            for _, channels in _parts(self.source, name, images)
        ]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the sums by layer, split and name, to be written to a file."""
        return {
            f"{layer}/{number}/{name}": values
            for layer, of_splits in self._sums.items()
            for number, of_split in enumerate(of_splits)
            for name, values in of_split.arrays().items()
        }

    def merge_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Add the arrays of another object, over other images; other arrays are left alone."""
        for layer, of_splits in self._sums.items():
            for number, of_split in enumerate(of_splits):
                at = f"{layer}/{number}/"
                of_split.merge_arrays({name: arrays[f"{at}{name}"] for name in of_split.arrays()})

    def moments(self) -> Iterator[tuple[str, xr.Dataset]]:
        """Name and moments of each layer."""
        for name, sums in self._sums.items():
            yield name, _together(sums).assign_attrs(self.source.layer_attrs(name))


def refuse_other_moments(moments: Path, source: MapSource, maps: Path) -> None:
    """Refuse moments of other maps than a source's.

    Args:
        moments: Store of moments.
        source: The maps.
        maps: Their store or stream, for the error.

    Raises:
        StoreError: The moments were made of other maps, or are not finished.
    """
    if source.state["name"] not in read_manifest(moments)["made_of"]:
        raise StoreError(f"{moments} are not the moments of {maps}. Give those (--moments).")


def budgets(device: str) -> tuple[float, float]:
    """Bytes that the sums of a pass, and the maps of a block of images, may take on a device."""
    if device == "cpu":
        return SUM_BYTES, BLOCK_BYTES
    free = torch.cuda.mem_get_info()[0]
    return SUM_SHARE * free, BLOCK_SHARE * free


def groups_of_layers(source: MapSource, splits: int) -> list[list[str]]:
    """Runs of layers whose sums fit into memory together; every one makes a pass."""
    most = budgets(source.device)[0]
    groups: list[list[str]] = [[]]
    size = 0
    for name in source.layers:
        own = bytes_of_sums((source.channels[name], *source.sizes[name]), splits)
        if groups[-1] and size + own > most:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += own
    return groups


def _parts(source: MapSource, layer: str, images: int) -> Iterator[tuple[str, slice]]:
    """A layer and some of its channels, of which threads have about as much to do."""
    channels, per_read = source.channels[layer], source.channels_per_read(layer)
    of_read = per_read * images * source.dtype.itemsize * prod(source.sizes[layer])
    step = per_read * int(max(1, PART_BYTES[source.device] // of_read))
    for start in range(0, channels, step):
        yield layer, slice(start, min(start + step, channels))


def _together(sums: list[MomentSums]) -> xr.Dataset:
    if len(sums) == 1:
        return sums[0].dataset()
    parts = xr.concat([of_part.dataset() for of_part in sums], "split", data_vars="all")
    total = MomentSums(*sums[0].shape, sums[0].device)
    for of_part in sums:
        total.merge(of_part)
    return total.dataset().assign({f"{PREFIX}{name}": parts[name] for name in parts})


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    if is_stream(a.activations):
        lease()
    torch.set_num_threads(a.threads)
    measure(a.activations, a.output, a.splits, a.threads, a.identity)
