"""Find the nearest partner of every unit, whether it is a best buddy or not.

INPUTS   correlations of generator and model, and the evidence of their best buddies
OUTPUTS  X.csv: a row a unit of either (matching.tables.PARTNERS)
"""

import argparse
from pathlib import Path

from rosetta_steps.matching.settings import NEIGHBOURS
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="The nearest partner of every unit.")
    parser.add_argument("--correlations", type=Path, required=True, help="X.zarr of both models")
    parser.add_argument("--evidence", type=Path, required=True, help="of their best buddies")
    parser.add_argument(
        "--neighbours",
        type=int,
        default=NEIGHBOURS,
        help="K of the best buddies, default %(default)s",
    )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.csv to write")
    a = parser.parse_args()

    from rosetta_steps.evidence.partners import write_partners

    write_partners(a.correlations, a.evidence, a.output, a.neighbours, a.identity)


if __name__ == "__main__":
    run(main)
