"""Plain names of units in best buddies that low-level features explain.

INPUTS   sums over images of the generator's best buddies with each model
OUTPUTS  X.csv: a row a unit (matching.tables.NAMES)
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Plain names of units in best buddies.")
    parser.add_argument(
        "--image-sums",
        type=Path,
        nargs="+",
        required=True,
        metavar="ZARR",
        help="sums over images, one store a model",
    )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.csv to write")
    a = parser.parse_args()

    from rosetta_steps.evidence.names import write_names

    write_names(a.image_sums, a.output, identity=a.identity)


if __name__ == "__main__":
    run(main)
