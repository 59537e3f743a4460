"""Rosetta units of a generator over a zoo (eq. 4), clustered into concepts (section 3.2)."""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.matching.settings import Clustering
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Rosetta units and concepts of a zoo.")
    parser.add_argument("--generator", required=True, help="its name")
    parser.add_argument("--models", nargs="+", required=True, help="in the order of --buddies")
    parser.add_argument(
        "--buddies", nargs="+", type=Path, required=True, help="tables, one a model"
    )
    parser.add_argument("--self-buddies", type=Path, required=True, help="generator with itself")
    parser.add_argument(
        "--self-correlations", type=Path, required=True, help="X.zarr, generator with itself"
    )
    add_options(parser, Clustering)
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="rosetta.csv to write")
    a = parser.parse_args()

    from rosetta_steps.matching.concepts import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
