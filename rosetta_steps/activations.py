"""Dump the activation maps of every unit of a model on all images of a sample set."""

import argparse
from pathlib import Path

from rosetta_steps.maps.copying import copy_maps
from rosetta_steps.maps.running import Stream, provenance_of
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument
from rosetta_steps.streams import add_stream_arguments, stream_from


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


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Dump a model's activation maps.")
    add_stream_arguments(parser)
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()
    dump(stream_from(a), a.images_per_shard, a.output, a.identity)


if __name__ == "__main__":
    run(main)
