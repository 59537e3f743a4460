"""A store of the maps of every unit of a model."""

from pathlib import Path

from rosetta_steps.maps.copying import copy_maps
from rosetta_steps.maps.running import Stream, provenance_of


def dump(stream: Stream, images_per_shard: int, output: Path, identity: str | None = None) -> None:
    """Run a model on the images (a generator on the latents) and write its maps.

    Goes on with the first block that is not on disk when a job before was killed.

    Args:
        stream: The model on its images.
        images_per_shard: In a file.
        output: X.zarr to write.
        identity: As Provenance has it.

    Raises:
        ValueError: Bad weights; a generator that no longer makes the images of the samples;
            activations that are not finite (model, layer and images named); a disk that cannot hold
            the store.
    """
    provenance = provenance_of(stream, "activations", {}, identity)
    copy_maps(stream, images_per_shard, output, provenance)
