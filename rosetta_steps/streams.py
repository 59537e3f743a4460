"""A model's maps, made while they are needed: a source of blocks of images in place of a store.

A stream is a model with its layers and the images of a sample set, written down as JSON; it is
opened like a store of activations and runs the model on the images that are read. Maps are rounded
as a store would hold them, so that what follows from them is the same.

INPUTS   results/samples/{sample_set}.zarr, the weights
OUTPUTS  X.json: model, images, layers with their shapes, and what the maps follow from
"""

import argparse
import time
from pathlib import Path

import torch

from rosetta_steps.config.options import add_options
from rosetta_steps.maps.running import SEEN, Stream, describe, digest_of_stream, provenance_of
from rosetta_steps.maps.settings import Storing
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.files import write_json
from rosetta_steps.storage.manifests import (
    add_identity_argument,
)
from rosetta_steps.zoo.entries import add_layer_arguments, find_entry, layers_from
from rosetta_steps.zoo.weights import files_of_weights

TIMED = 8  # images


def seen(stream: Stream) -> dict[str, float]:
    """Seconds of a pass for an image, and bytes of the weights.

    Raises:
        ValueError: As Stream.read.
    """
    block = slice(0, min(stream.at_once, stream.images, TIMED))
    for _ in range(2):  # the first loads the model
        stream.tap(stream.layers)
        begin = time.perf_counter()
        stream.read(stream.layers[0], block)
    seconds = (time.perf_counter() - begin) / block.stop
    files = files_of_weights(find_entry(stream.attrs["model"], stream.state["zoo"]))
    return dict(zip(SEEN, (seconds, sum(file.stat().st_size for file in files)), strict=True))


def write_stream(stream: Stream, output: Path, identity: str | None = None) -> None:
    """Write down a stream, with what a pass takes.

    Args:
        stream: The model on its images.
        output: X.json to write.
        identity: As Provenance has it.

    Raises:
        ValueError: As Stream.read.
    """
    state = stream.state | provenance_of(stream, "stream", {}, identity).state(output)
    write_json(output, state | {"digest": digest_of_stream(state)} | seen(stream))


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a stream follows from to a command line."""
    parser.add_argument("--model", required=True, help="name in the zoo")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--samples", type=Path, required=True, help="X.zarr of images")
    add_layer_arguments(parser)
    add_options(parser, Storing, ["dtype", "images_per_shard"])
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")


def stream_from(a: argparse.Namespace) -> Stream:
    """The stream that a command line describes, on the device that is free.

    Raises:
        ValueError: As `describe`.
    """
    device = lease()
    if a.threads:
        torch.set_num_threads(a.threads)
    layers = layers_from(a)
    state = describe(a.model, a.zoo, a.samples, layers, a.dtype, a.images_per_shard, device)
    return Stream(state, device)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Write down what a model runs on, to be read like a store of its activations."
    )
    add_stream_arguments(parser)
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.json to write")
    a = parser.parse_args()
    stream = stream_from(a)
    write_stream(stream, a.output, a.identity)


if __name__ == "__main__":
    run(main)
