"""Best buddies: pairs of units that are each among the other's K nearest neighbours (eq. 3)."""

import argparse
from pathlib import Path

from rosetta_steps.matching.settings import NEIGHBOURS
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Best buddies of two models.")
    parser.add_argument("--correlations", type=Path, required=True, help="X.zarr to read")
    parser.add_argument("--neighbours", type=int, default=NEIGHBOURS, help="K, default %(default)s")
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    a = parser.parse_args()

    from rosetta_steps.matching.best_buddies import write_best_buddies

    write_best_buddies(a.correlations, a.neighbours, a.output, a.identity)


if __name__ == "__main__":
    run(main)
