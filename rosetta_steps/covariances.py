"""Covariances of the units of each layer of a model with each other, at every size of comparison.

INPUTS   activations, or a stream, and moments of a model; moments of the model it is compared with
OUTPUTS  X.zarr: covariance (compared, channel, other) a layer, and of each split
"""

import argparse
import os
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Covariances of the units of each layer.")
    parser.add_argument("--maps", type=Path, required=True, help="X.zarr or X.json of the model")
    parser.add_argument("--moments", type=Path, required=True, help="its moments")
    parser.add_argument(
        "--compared-with",
        type=Path,
        required=True,
        help="moments of the generator, whose layers say at which sizes units are compared",
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.evidence.covariances import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
