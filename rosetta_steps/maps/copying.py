"""Writing the maps of any source into a store, for all units or for selected ones."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from rosetta_steps.maps.channels import as_array
from rosetta_steps.maps.sources import MapSource
from rosetta_steps.maps.store import MapWriter, bytes_of
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.manifests import Provenance

if TYPE_CHECKING:  # torch takes two seconds to import, and a copy of stored maps needs none of it
    from torch import Tensor

    Maps = np.ndarray | Tensor

# Maximum size of a block of maps for which the next block is read or computed while it is written.
AHEAD_BYTES = 1e9


def copy_maps(
    source: MapSource,
    images_per_shard: int,
    output: Path,
    provenance: Provenance,
    units: Mapping[str, Sequence[int]] | None = None,
    *,
    threads: int = 1,
    beside: "Callable[[slice, Mapping[str, Maps]], list[Future[None]]] | None" = None,
) -> None:
    """Write the maps of a source into a store, block by block; blocks already on disk are kept.

    Args:
        source: Source of the maps.
        images_per_shard: Number of images in a file.
        output: Path of the store X.zarr to write.
        provenance: Origin of the store, recorded in its manifest.
        units: Channel numbers to keep of each layer; None keeps all. With a selection, layers
            without selected channels are left out and the others get a coordinate `channel`.
        threads: That read and write layers at the same time.
        beside: Starts some other work on the maps of every block, in their order; it is waited for
            once they are written. Blocks already on disk are read for it.

    Raises:
        ValueError: Maps cannot be read or computed or are not finite, the source does not have a
            selected unit, or the disk cannot hold the store.
    """
    kept: dict[str, Sequence[int]] = {name: range(count) for name, count in source.channels.items()}
    if units is not None:
        refuse_unknown(source, units)
        kept = {name: sorted(units[name]) for name in source.layers if len(units.get(name, []))}
    shapes = {name: (len(chosen), *source.sizes[name]) for name, chosen in kept.items()}
    attrs = {name: source.layer_attrs(name) for name in shapes}
    writer = MapWriter(
        output,
        shapes,
        source.images,
        images_per_shard=images_per_shard,
        dtype=source.dtype.name,
        attrs=source.attrs,
        layer_attrs=attrs,
        key=source.state["key"],
        provenance=provenance,
        channel_numbers=None if units is None else kept,
        threads=threads,
    )
    missing = writer.missing()
    refuse_what_does_not_fit(
        [(shape, attrs[name]["nonlinearity"]) for name, shape in shapes.items()],
        sum(block.stop - block.start for block in missing),
        source.dtype,
        output,
    )
    if missing and hasattr(source, "load"):  # a model that runs: its faults show before it does
        source.load()
    source.select_layers(kept)
    of_block = source.dtype.itemsize * images_per_shard * _values(source, kept)
    following = dict(zip_longest((block.start for block in missing), missing[1:]))
    title = f"maps of {source.attrs['model']}"

    def read(block: slice) -> "dict[str, Maps]":
        found = layers.map(lambda name: _read(source, name, block, kept[name]), kept)
        return dict(zip(kept, found, strict=True))

    with (
        ThreadPoolExecutor(threads) as layers,
        tqdm(total=source.images, desc=title, unit="image") as bar,
        ThreadPoolExecutor(1) as reader,
    ):
        maps: Mapping[str, Maps]
        coming: Future[dict[str, Maps]] | None = None
        for block in image_blocks(source.images, images_per_shard):
            if there := block.start not in following:
                maps = writer.read(block) if beside else {}
            else:
                maps = coming.result() if coming else read(block)
                ahead = following[block.start] if of_block <= AHEAD_BYTES else None
                coming = reader.submit(read, ahead) if ahead else None
            running = beside(block, maps) if beside else []
            if not there:
                writer.write(block, {name: as_array(values) for name, values in maps.items()})
            for one in running:
                one.result()
            bar.update(block.stop - block.start)
    writer.finish()


def _values(source: MapSource, layers) -> int:
    return sum(source.channels[name] * int(np.prod(source.sizes[name])) for name in layers)


def _read(source: MapSource, layer: str, block: slice, channels: Sequence[int]) -> "Maps":
    if len(channels) == source.channels[layer]:
        return source.read(layer, block)
    parts = [
        as_array(source.read(layer, block, run)[:, [n - run.start for n in numbers]])
        for run, numbers in runs_of_channels(channels, source.channels_per_read(layer))
    ]
    return np.concatenate(parts, 1)


def runs_of_channels(channels: Sequence[int], per_read: int) -> Iterator[tuple[slice, list[int]]]:
    """Yield slices of channels to read, each with the selected channels that lie within it.

    Channels between two slices are not read.

    Args:
        channels: Numbers of the selected channels, ascending.
        per_read: Number of channels that are read together; slices are multiples of it.
    """
    run: list[int] = []
    for channel in channels:
        if run and channel // per_read > run[-1] // per_read + 1:
            yield _whole(run, per_read), run
            run = []
        run.append(channel)
    if run:
        yield _whole(run, per_read), run


def _whole(run: list[int], per_read: int) -> slice:
    return slice(run[0] // per_read * per_read, (run[-1] // per_read + 1) * per_read)


def refuse_unknown(source: MapSource, units: Mapping[str, Sequence[int]]) -> None:
    """Raise a ValueError if a source lacks one of the selected layers or channels."""
    for layer, channels in units.items():
        count = source.channels.get(layer, 0)
        if len(channels) and not 0 <= min(channels) <= max(channels) < count:
            there = f"channels 0 to {count - 1}" if count else "no such layer"
            raise UserError(
                f"{source.attrs['model']} has no unit {layer}:{max(channels)}: {there}. The tables "
                "of best buddies are of other maps: run the same command again from them on."
            )


def refuse_what_does_not_fit(
    layers: Sequence, images: int, dtype: str | np.dtype, output: Path
) -> None:
    """Raise a ValueError if the disk is too small for the compressed store of maps."""
    needed = bytes_of(layers, images, dtype)[1]
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{output} needs about {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free. "
            "Fewer images, fewer layers (layers: block), store: matched, or another disk for "
            "results/."
        )
