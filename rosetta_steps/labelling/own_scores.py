"""Labels of one's own on every image, from a CSV.

INPUTS   a sample set, and a CSV with a row an image and a column a label
OUTPUTS  X.zarr: score (image, label)
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Labels of one's own on every image.")
    parser.add_argument("--samples", type=Path, required=True, help="X.zarr of the images")
    parser.add_argument("--labels", type=Path, required=True, metavar="CSV", help="the labels")
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.labelling.own import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
