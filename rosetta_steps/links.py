"""Link units of two generators through the models that were mined with both.

INPUTS   of both sample sets: rosetta.csv, images, maps and moments of everyone, correlations and
         evidence of the generator with every model
OUTPUTS  DIR/index.html; beside it links.csv, pairs.csv and units.csv (matching.tables.LINKS,
         LINKED_PAIRS, LINKED_UNITS), links.png and links.pdf
"""

import argparse
from pathlib import Path
from typing import Any

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Link the units of two generators.")
    both: dict[str, Any] = {"type": Path, "nargs": 2, "required": True, "metavar": ("A", "B")}
    parser.add_argument("--tables", help="rosetta.csv of both sample sets", **both)
    parser.add_argument("--samples", help="images of both", **both)
    each: dict[str, Any] = {"type": Path, "nargs": "+", "required": True}
    order = "of both sample sets, in any order"
    parser.add_argument("--maps", help=f"of every model, {order}", metavar="ZARR", **each)
    parser.add_argument("--moments", help=f"of every model, {order}", metavar="ZARR", **each)
    parser.add_argument("--correlations", help=f"with every model, {order}", metavar="ZARR", **each)
    parser.add_argument("--evidence", help=f"with every model, {order}", metavar="CSV", **each)
    parser.add_argument("--level", type=float, default=0.05, help="of q, default %(default)s")
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="DIR/index.html")
    a = parser.parse_args()

    from rosetta_steps.website.linked import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
