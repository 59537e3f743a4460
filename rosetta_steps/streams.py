"""A model's maps, made while they are needed: a source of blocks of images in place of a store.

A stream is a model with its layers and the images of a sample set, written down as JSON; it is
opened like a store of activations and runs the model on the images that are read. Maps are rounded
as a store would hold them, so that what follows from them is the same.

INPUTS   results/samples/{sample_set}.zarr, the weights
OUTPUTS  X.json: model, images, layers with their shapes, and what the maps follow from
"""

import argparse
from pathlib import Path

from rosetta_steps.maps.arguments import add_stream_arguments
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Write down what a model runs on, to be read like a store of its activations."
    )
    add_stream_arguments(parser)
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.json to write")
    a = parser.parse_args()

    from rosetta_steps.maps.streams import stream_from, write_stream

    write_stream(stream_from(a), a.output, a.identity)


if __name__ == "__main__":
    run(main)
