"""Write a dictionary as a site: pages of concepts, units and models that link to each other.

INPUTS   as rosetta_steps.dictionary; besides, the partners of every model, the
         coverage, and the correlations of the generator with itself
OUTPUTS  DIR/index.html and all it leads to; no page reads anything from anywhere else
"""

import argparse
from pathlib import Path
from typing import Any

from rosetta_steps.display.arguments import add_input_arguments
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write a dictionary as a site.")
    add_input_arguments(parser)
    each: dict[str, Any] = {"type": Path, "nargs": "+", "required": True, "metavar": "CSV"}
    parser.add_argument("--evidence", help="of each model", **each)
    parser.add_argument("--partners", help="of each model", **each)
    parser.add_argument(
        "--correlations", type=Path, required=True, help="of the generator with itself, X.zarr"
    )
    parser.add_argument("--coverage", type=Path, required=True, help="X.csv")
    parser.add_argument("--names", type=Path, metavar="CSV", help="plain names of units")
    parser.add_argument(
        "--labels", type=Path, nargs="*", default=[], metavar="CSV", help="labels of units"
    )
    parser.add_argument("--settings", default="", help="with what it was mined, in words")
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="DIR/index.html")
    a = parser.parse_args()

    from rosetta_steps.website.writing import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
