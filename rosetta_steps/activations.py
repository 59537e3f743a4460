"""Dump the activation maps of a model on all images of a sample set: all, or of matched units."""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rosetta_steps.maps.running import Stream, provenance_of
from rosetta_steps.maps.store import MapWriter, bytes_of
from rosetta_steps.matching.tables import read_best_buddies
from rosetta_steps.runtime.errors import UserError, run
from rosetta_steps.storage.manifests import (
    add_identity_argument,
    ingredients,
    refuse_not_made_of,
)
from rosetta_steps.streams import add_stream_arguments, stream_from

# Maps of a block of images up to which those of the next are made while they are written.
AHEAD_BYTES = 1e9


def dump(
    stream: Stream,
    images_per_shard: int,
    output: Path,
    units: Mapping[str, Sequence[int]] | None = None,
    tables: Sequence[Path] = (),
    identity: str | None = None,
) -> None:
    """Run a model on the images (a generator on the latents) and write its maps.

    Goes on with the first block that is not on disk when a job before was killed.

    Args:
        stream: The model on its images.
        images_per_shard: In a file.
        output: X.zarr to write.
        units: Channels of each layer that are kept; None: all. Layers without any are left out, and
            the others have a coordinate `channel`.
        tables: Best buddies from which `units` were taken.
        identity: As Provenance has it.

    Raises:
        ValueError: Bad weights; a generator that no longer makes the images of the samples;
            activations that are not finite (model, layer and images named); a disk that cannot hold
            the store.
    """
    kept = {name: range(count) for name, count in stream.channels.items()}
    if units is not None:
        kept = {name: sorted(units[name]) for name in stream.layers if len(units.get(name, []))}
    shapes = {name: (len(chosen), *stream.sizes[name]) for name, chosen in kept.items()}
    refuse_what_does_not_fit(
        [(shape, stream.layer_attrs(name)["nonlinearity"]) for name, shape in shapes.items()],
        stream.images,
        stream.dtype,
        output,
    )
    stream.load()
    kind = "activations" if units is None else "matched activations"
    provenance = provenance_of(stream, kind, ingredients(tables), identity)
    writer = MapWriter(
        output,
        shapes,
        stream.images,
        images_per_shard,
        stream.dtype.name,
        stream.attrs,
        {name: stream.layer_attrs(name) for name in shapes},
        key=stream.state["key"],
        provenance=provenance,
        numbers=None if units is None else kept,
    )
    missing = writer.missing()
    progress = tqdm(
        total=stream.images, desc=f"activations of {stream.attrs['model']}", unit="image"
    )
    progress.update(stream.images - sum(block.stop - block.start for block in missing))
    stream.progress = progress.update
    stream.tap(kept)
    of_block = stream.dtype.itemsize * images_per_shard * stream.values
    for block, following in zip_longest(missing, missing[1:]):
        if kept:
            stream.prepare(block)
        if kept and following is not None and of_block <= AHEAD_BYTES:
            stream.prepare(following)
        maps = {
            name: stream.read(name, block, slice(None) if units is None else chosen)
            for name, chosen in kept.items()
        }
        writer.write(block, {name: values.cpu().numpy() for name, values in maps.items()})
    writer.finish()


def matched_units(tables: Sequence[Path], side: str) -> dict[str, list[int]]:
    """Channels of each layer that are in tables of best buddies.

    Args:
        tables: As rosetta_steps.best_buddies writes them.
        side: "a" or "b": which of the two models.
    """
    found: dict[str, set[int]] = {}
    for path in tables:
        table = read_best_buddies(path)
        for layer, channels in table.groupby(f"layer_{side}")[f"channel_{side}"]:
            found.setdefault(layer, set()).update(channels.tolist())
    return {layer: sorted(channels) for layer, channels in found.items()}


def refuse_what_does_not_fit(
    layers: Sequence, images: int, dtype: str | np.dtype, output: Path
) -> None:
    """Raise a ValueError if the disk cannot hold a dump once it is compressed."""
    needed = bytes_of(layers, images, dtype)[1]
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{output} needs about {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free. "
            "Fewer images, fewer layers (layers: block), keep: matched, or another disk for "
            "results/."
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Dump a model's activation maps.")
    add_stream_arguments(parser)
    matched = parser.add_mutually_exclusive_group()
    for side in "ab":
        matched.add_argument(
            f"--matched-{side}",
            type=Path,
            nargs="+",
            metavar="CSV",
            help=f"keep only units that stand as {side} in these tables of best buddies",
        )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()
    units, tables = None, a.matched_a or a.matched_b or []
    if tables:
        units = matched_units(tables, "a" if a.matched_a else "b")
        refuse_not_made_of(tables, a.samples)
    dump(stream_from(a), a.images_per_shard, a.output, units, tables, a.identity)


if __name__ == "__main__":
    run(main)
