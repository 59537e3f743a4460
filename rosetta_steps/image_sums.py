"""Sums over each image of the maps of matched pairs, from which their evidence follows.

INPUTS   maps (matched, or all, or a stream) and moments of two models, their best buddies,
         and the samples
OUTPUTS  X.zarr: sums by pair and image
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Sums over each image of matched pairs.")
    for side, which in (("a", "first"), ("b", "second")):
        parser.add_argument(
            f"--maps-{side}",
            type=Path,
            required=True,
            help=f"maps of the {which} model, X.zarr or X.json to run",
        )
        parser.add_argument(
            f"--moments-{side}", type=Path, required=True, help=f"moments of the {which} model"
        )
    parser.add_argument("--buddies", type=Path, required=True, help="their best buddies")
    parser.add_argument("--samples", type=Path, required=True, help="Zarr store of the images")
    parser.add_argument("--threads", type=int, default=1, help="default %(default)s")
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.evidence.image_sums import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
