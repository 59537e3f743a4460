"""A figure of edits, after figures 8 and 9 of the paper: before | maps | after | direct edit.

INPUTS   X.zarr of one or more edits
OUTPUTS  the figure as .png and .pdf
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="A figure of edits.")
    parser.add_argument("--edits", type=Path, nargs="+", required=True, help="X.zarr, in order")
    parser.add_argument(
        "--images", type=int, nargs="+", default=[0, 1], help="places in each, default 0 1"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="X.png or X.pdf to write: both are written"
    )
    add_identity_argument(parser)
    a = parser.parse_args()

    from rosetta_steps.editing.drawing import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
