"""Count on how many images the models of a concept fire together, and whether all of them do.

INPUTS   rosetta.csv, and the sums over images of the generator's best buddies with every model
OUTPUTS  X.csv: a row a concept and number of models (matching.tables.FIRING)
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Whether the models of a concept fire together.")
    parser.add_argument("--table", type=Path, required=True, help="rosetta.csv")
    parser.add_argument(
        "--sums", type=Path, nargs="+", required=True, help="X.zarr of image_sums of each model"
    )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.csv to write")
    a = parser.parse_args()

    from rosetta_steps.display.firing import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
