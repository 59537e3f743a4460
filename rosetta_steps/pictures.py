"""A sample set of single pictures: each fetched, cut out and, where its entry says so, drawn."""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make a sample set of single pictures.")
    parser.add_argument(
        "--pictures",
        type=Path,
        required=True,
        metavar="LIST",
        help="a YAML file that lists them, such as config/examples/face-photos.yaml",
    )
    parser.add_argument(
        "--size", nargs=2, type=int, required=True, metavar=("Y", "X"), help="in pixels"
    )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.stimuli.pictures import gather

    gather(a.pictures, tuple(a.size), a.output, a.identity)


if __name__ == "__main__":
    run(main)
