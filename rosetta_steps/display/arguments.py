"""The inputs of a dictionary, on a command line."""

import argparse
from pathlib import Path
from typing import Any


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the inputs that the page and the figures share to a command line."""
    parser.add_argument("--table", type=Path, required=True, help="rosetta.csv")
    parser.add_argument("--samples", type=Path, required=True, help="Zarr store of the images")
    each: dict[str, Any] = {"type": Path, "nargs": "+", "required": True, "metavar": "ZARR"}
    order = "one store a model, the generator's among them, in any order"
    # Stores of all activations do as well, and had an option of that name.
    what = "maps of matched units, or of all"
    parser.add_argument("--maps", "--activations", dest="maps", help=f"{what}: {order}", **each)
    parser.add_argument("--moments", help=order, **each)
