"""The parts of every correlation, `where` and `amount`, and what is left without favourite places.

INPUTS   correlations of two models, every pair; activations or streams, and moments, of both
OUTPUTS  X.zarr: by pair of units
"""

import argparse
import os
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="The parts of every correlation, and what is left without favourite places."
    )
    parser.add_argument("--correlations", type=Path, required=True, help="X.zarr of both models")
    for side, which in (("a", "first"), ("b", "second")):
        parser.add_argument(
            f"--maps-{side}",
            type=Path,
            required=True,
            help=f"X.zarr or X.json of the {which} model",
        )
        parser.add_argument(
            f"--moments-{side}", type=Path, required=True, help=f"moments of the {which} model"
        )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.evidence.all_pairs import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
