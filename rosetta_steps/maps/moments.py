"""Moments of every unit of stored or running maps, in passes over the images."""

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from math import prod
from pathlib import Path

import torch
import xarray as xr
from tqdm import tqdm

from rosetta_steps.maps.sources import MapSource, is_stream, open_maps
from rosetta_steps.maps.splits import PREFIX, refuse_splits, split_of
from rosetta_steps.maps.statistics import MomentSums, bytes_of_sums
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest

# Of a pass over the images: the sums of its layers, and the maps of a block of images.
SUM_BYTES, BLOCK_BYTES = 1.5e9, 0.2e9
# On a GPU the same as shares of the memory that is free.
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
    store = open_maps(maps)
    refuse_splits(store.images, splits)
    split, layers = split_of(store.images, splits), {}
    most, of_block = budgets(store.device)
    groups = list(_groups(store, splits, most))
    if store.device != "cpu":
        threads = 1  # they would take turns
    title = f"moments of {store.attrs['model']}"
    with (
        tqdm(total=store.images * len(groups), desc=title, unit="image") as bar,
        ThreadPoolExecutor(threads) as pool,
    ):
        for group in groups:
            store.select_layers(group)
            sums = {
                name: [
                    MomentSums(store.channels[name], store.sizes[name], store.device)
                    for _ in range(splits)
                ]
                for name in group
            }

            def add(block: slice, layer: str, channels: slice, sums=sums) -> None:
                found = store.read(layer, block, channels)
                for number, of_split in enumerate(sums[layer]):
                    own = found if splits == 1 else found[split[block] == number]
                    of_split.add(own, channels.start)

            together = store.images_per_read(of_block)
            blocks = image_blocks(store.images, together)
            parts = [part for name in group for part in _parts(store, name, together)]
            store.prefetch(blocks[0])
            for block, following in zip_longest(blocks, blocks[1:]):
                if following is not None:
                    store.prefetch(following)
                list(pool.map(add, [block] * len(parts), *zip(*parts, strict=True)))
                bar.update(block.stop - block.start)
            for name in group:
                layers[f"/{name}"] = _together(sums[name]).assign_attrs(store.layer_attrs(name))
    root = xr.Dataset(attrs=store.attrs)
    model, sample_set = store.attrs["model"], store.state["sample_set"]
    provenance = Provenance("moments", [model], sample_set, ingredients([maps]), identity)
    write_dataset(xr.DataTree.from_dict({"/": root, **layers}), output, provenance)


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


def _groups(store: MapSource, splits: int, most: float) -> Iterator[list[str]]:
    """Runs of layers whose sums fit into memory together; every one makes a pass."""
    group: list[str] = []
    size = 0
    for name in store.layers:
        own = bytes_of_sums((store.channels[name], *store.sizes[name]), splits)
        if group and size + own > most:
            yield group
            group, size = [], 0
        group, size = [*group, name], size + own
    yield group


def _parts(store: MapSource, layer: str, images: int) -> Iterator[tuple[str, slice]]:
    """A layer and some of its channels, of which threads have about as much to do."""
    channels, per_read = store.channels[layer], store.channels_per_read(layer)
    of_read = per_read * images * store.dtype.itemsize * prod(store.sizes[layer])
    step = per_read * int(max(1, PART_BYTES[store.device] // of_read))
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
