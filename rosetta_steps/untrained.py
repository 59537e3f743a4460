"""Best buddies of a generator with a model, beside those with the same network untrained.

INPUTS   correlations of the generator with the model, and with its untrained copies
OUTPUTS  X.csv: a row a figure (matching.tables.UNTRAINED)
"""

import argparse
from pathlib import Path

from rosetta_steps.matching.settings import NEIGHBOURS
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Best buddies with a model, trained and untrained, by count and by rank."
    )
    parser.add_argument("--correlations", type=Path, required=True, help="X.zarr of both models")
    parser.add_argument(
        "--untrained",
        type=Path,
        nargs="+",
        required=True,
        metavar="ZARR",
        help="the generator's correlations with untrained copies of the model",
    )
    parser.add_argument(
        "--neighbours",
        type=int,
        default=NEIGHBOURS,
        help="K of the best buddies, default %(default)s",
    )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.csv to write")
    a = parser.parse_args()

    from rosetta_steps.evidence.untrained import write_comparison

    write_comparison(
        a.correlations, a.untrained, a.output, neighbours=a.neighbours, identity=a.identity
    )


if __name__ == "__main__":
    run(main)
