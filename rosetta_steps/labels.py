"""Label the units of a dictionary: the best of some labels of images, with its score and verdict.

INPUTS   the dictionary; maps of matched units of generator and models; labels on every image
OUTPUTS  X.csv: a row a unit (matching.tables.LABELS)
"""

import argparse
from pathlib import Path
from typing import Any

from rosetta_steps.config.options import add_options
from rosetta_steps.labelling.settings import OF_A_VERDICT, Labelling
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Label the units of a dictionary.")
    parser.add_argument("--table", type=Path, required=True, help="rosetta.csv")
    parser.add_argument("--samples", type=Path, required=True, help="X.zarr of the images")
    each: dict[str, Any] = {"type": Path, "nargs": "+", "required": True, "metavar": "ZARR"}
    parser.add_argument("--maps", help="maps of matched units, one store a model", **each)
    parser.add_argument("--scores", help="labels on every image, one store a source", **each)
    add_options(parser, Labelling, OF_A_VERDICT)
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.csv to write")
    a = parser.parse_args()

    from rosetta_steps.labelling.table import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
