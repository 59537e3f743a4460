"""Dump the activation maps of every unit of a model on all images, and their moments."""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.maps.arguments import add_stream_arguments
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Dump a model's activation maps.")
    add_stream_arguments(parser)
    add_options(parser, Correlation, ["splits"])
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    parser.add_argument("--identity-of-moments", help=argparse.SUPPRESS)
    parser.add_argument("--moments", type=Path, required=True, help="X.zarr of moments to write")
    a = parser.parse_args()

    from rosetta_steps.maps.activations import dump
    from rosetta_steps.maps.streams import stream_from

    dump(
        stream_from(a),
        a.images_per_shard,
        a.output,
        a.moments,
        splits=a.splits,
        identity=a.identity,
        identity_of_moments=a.identity_of_moments,
    )


if __name__ == "__main__":
    run(main)
