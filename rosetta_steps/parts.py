"""How much of every correlation is favourite places, from moments: `where`, and what is left.

INPUTS   correlations of two models, every pair; moments of both
OUTPUTS  X.zarr: by pair of units
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="How much of every correlation is favourite places, and what is left."
    )
    parser.add_argument("--correlations", type=Path, required=True, help="X.zarr of both models")
    for side, which in (("a", "first"), ("b", "second")):
        parser.add_argument(
            f"--moments-{side}", type=Path, required=True, help=f"moments of the {which} model"
        )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.evidence.all_pairs import write_parts

    moments = (a.moments_a, a.moments_b)
    write_parts(a.correlations, moments, a.output, identity=a.identity)


if __name__ == "__main__":
    run(main)
