"""Dump the activation maps of every unit of a model on all images of a sample set."""

import argparse
from pathlib import Path

from rosetta_steps.maps.arguments import add_stream_arguments
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Dump a model's activation maps.")
    add_stream_arguments(parser)
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.maps.activations import dump
    from rosetta_steps.maps.streams import stream_from

    dump(stream_from(a), a.images_per_shard, a.output, a.identity)


if __name__ == "__main__":
    run(main)
