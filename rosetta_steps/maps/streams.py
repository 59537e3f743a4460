"""A stream, written down with what a pass takes."""

import argparse
import time
from pathlib import Path

import torch

from rosetta_steps.maps.running import SEEN, Stream, describe, digest_of_stream, provenance_of
from rosetta_steps.runtime.devices import lease
from rosetta_steps.storage.files import write_json
from rosetta_steps.zoo.arguments import layers_from
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.weights import files_of_weights

TIMED = 8  # images


def seen(stream: Stream) -> dict[str, float]:
    """Seconds of a pass for an image, and bytes of the weights.

    Raises:
        ValueError: As Stream.read.
    """
    block = slice(0, min(stream.at_once, stream.images, TIMED))
    for _ in range(2):  # the first loads the model
        stream.select_layers(stream.layers)
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


def stream_from(a: argparse.Namespace) -> Stream:
    """The stream that a command line describes, on the device that is free.

    Raises:
        ValueError: As `describe`.
    """
    device = lease()
    if a.threads:
        torch.set_num_threads(a.threads)
    layers = layers_from(a)
    state = describe(
        a.model,
        a.zoo,
        a.samples,
        layers,
        dtype=a.dtype,
        images_per_shard=a.images_per_shard,
        device=device,
    )
    return Stream(state, device)
