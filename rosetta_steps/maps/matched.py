"""A store of the maps of matched units alone."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from rosetta_steps.maps.copying import copy_maps
from rosetta_steps.maps.sources import is_stream, open_maps, prepare
from rosetta_steps.matching.tables import read_best_buddies
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.manifests import Provenance, ingredients

KIND = "matched maps"


def keep_matched(
    maps: Path,
    tables: Sequence[Path],
    *,
    side: str,
    images_per_shard: int,
    output: Path,
    threads: int = 1,
    identity: str | None = None,
) -> None:
    """Write the maps of the units that are in tables of best buddies.

    Goes on with the first block that is not on disk when a job before was killed.

    Args:
        maps: Store of activations, or stream.
        tables: As rosetta_steps.best_buddies writes them.
        side: "a" or "b": on which side of them the model stands.
        images_per_shard: In a file.
        output: X.zarr to write.
        threads: That read and write layers at the same time.
        identity: As Provenance has it.

    Raises:
        ValueError: The maps are damaged or do not belong to the tables, a unit of a table is not
            among them, or a disk cannot hold them.
    """
    made_of = ingredients([maps, *tables])  # refuses what does not belong together
    source = open_maps(maps)
    if source.state["name"].startswith(KIND):
        raise UserError(f"{maps} holds maps of matched units already: give all of {maps.name}.")
    units = matched_units(tables, side)
    model, sample_set = source.attrs["model"], source.state["sample_set"]
    provenance = Provenance(KIND, [model], sample_set, made_of, identity)
    copy_maps(source, images_per_shard, output, provenance, units, threads=threads)


def matched_units(tables: Sequence[Path], side: str) -> Mapping[str, list[int]]:
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


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    if is_stream(a.maps):  # stored maps are copied without torch
        prepare([a.maps], a.threads)
    keep_matched(
        a.maps,
        a.buddies,
        side=a.side,
        images_per_shard=a.images_per_shard,
        output=a.output,
        threads=a.threads,
        identity=a.identity,
    )
