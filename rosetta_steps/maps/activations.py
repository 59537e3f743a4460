"""A store of the maps of every unit of a model, and their moments."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from rosetta_steps.maps.copying import copy_maps
from rosetta_steps.maps.moments import (
    SumsOfLayers,
    groups_of_layers,
    moments_of_layers,
    write_moments,
)
from rosetta_steps.maps.running import Stream, provenance_of
from rosetta_steps.maps.splits import refuse_splits
from rosetta_steps.maps.store import MapReader


def dump(
    stream: Stream,
    images_per_shard: int,
    output: Path,
    moments: Path,
    *,
    splits: int = 1,
    identity: str | None = None,
    identity_of_moments: str | None = None,
) -> None:
    """Run a model on the images (a generator on the latents), write its maps and their moments.

    Goes on with the first block that is not on disk when a job before was killed. Moments are
    taken of the maps in memory, beside the next pass; blocks that were there are read for them, and
    so are layers whose sums do not fit into memory with those of the others, once all are written.

    Args:
        stream: The model on its images.
        images_per_shard: In a file.
        output: X.zarr to write.
        moments: X.zarr of moments to write.
        splits: As maps.moments.measure has them.
        identity: As Provenance has it.
        identity_of_moments: The same of the moments.

    Raises:
        ValueError: Bad weights; a generator that no longer makes the images of the samples;
            activations that are not finite (model, layer and images named); fewer images than the
            splits need; a disk that cannot hold the store.
    """
    refuse_splits(stream.images, splits)
    provenance = provenance_of(stream, "activations", {}, identity)
    first, *others = groups_of_layers(stream, splits)
    sums = SumsOfLayers(stream, first, splits)
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads if stream.device == "cpu" else 1) as pool:
        beside = partial(sums.submit, pool)
        copy_maps(stream, images_per_shard, output, provenance, threads=threads, beside=beside)
        layers = dict(sums.moments())
        del sums, beside  # memory for the others
        written = MapReader(output)
        layers |= dict(moments_of_layers(written, others, splits, pool))
    write_moments(written, layers, output, moments, identity_of_moments)
