"""Moments: what the mean and variance of a unit at any size follow from (maps.statistics).

The workflow takes them while it writes activations (rosetta_steps.activations) or while it
correlates models that run instead (rosetta_steps.correlation), and otherwise by this step.

INPUTS   a stream, or activations; or moments that were taken elsewhere
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
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--activations", type=Path, help="X.zarr to read, or X.json to run")
    source.add_argument("--taken", type=Path, help="X.zarr of moments, to check and to copy")
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    add_options(parser, Correlation, ["splits"])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    add_identity_argument(parser)
    a = parser.parse_args()

    if a.taken:
        from rosetta_steps.storage.datasets import copy_store

        return copy_store(a.taken, a.output)

    from rosetta_steps.maps.moments import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
