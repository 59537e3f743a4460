"""Clamp units of a generator, run the model again, and see what their matches do.

INPUTS   the samples, the dictionary (rosetta.csv), moments of generator and model
OUTPUTS  X.csv: a row a concept, its strongest pair with the model (matching.tables.INTERVENTIONS)
"""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.interventions.settings import Interventions
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Effects of clamped units on their matches.")
    parser.add_argument("--generator", required=True, help="whose units are clamped")
    parser.add_argument("--model", required=True, help="whose matches are looked at")
    parser.add_argument("--zoo", type=Path, required=True, help="YAML file of entries")
    parser.add_argument("--samples", type=Path, required=True, help="Zarr store of the images")
    parser.add_argument("--table", type=Path, required=True, help="rosetta.csv")
    parser.add_argument(
        "--moments", type=Path, nargs=2, required=True, help="of the generator and of the model"
    )
    add_options(parser, Interventions)
    parser.add_argument("--threads", type=int, help="default: all cores")
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.csv to write")
    a = parser.parse_args()

    from rosetta_steps.interventions.table import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
