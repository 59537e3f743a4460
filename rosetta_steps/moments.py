"""Moments: what the mean and variance of a unit at any size follow from (maps.statistics).

The workflow takes them while it writes activations (rosetta_steps.activations), and by this step of
models that run instead.

INPUTS   a stream, or activations
OUTPUTS  X.zarr: a group a layer
"""

import argparse
import os
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Moments of every unit of a store.")
    parser.add_argument(
        "--activations", type=Path, required=True, help="X.zarr to read, or X.json to run"
    )
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    add_options(parser, Correlation, ["splits"])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    add_identity_argument(parser)
    a = parser.parse_args()

    from rosetta_steps.maps.moments import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
