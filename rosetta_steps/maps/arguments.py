"""What a stream follows from, on a command line."""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.maps.settings import Storing
from rosetta_steps.zoo.arguments import add_layer_arguments


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a stream follows from to a command line; maps.streams.stream_from reads it."""
    parser.add_argument("--model", required=True, help="name in the zoo")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--samples", type=Path, required=True, help="X.zarr of images")
    add_layer_arguments(parser)
    add_options(parser, Storing, ["dtype", "images_per_shard"])
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
