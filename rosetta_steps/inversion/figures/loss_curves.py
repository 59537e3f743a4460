"""Loss curves of inversions: every term over the steps, median and quartiles over the images.

INPUTS   X.zarr of one or more arms, as rosetta_steps.inversion.invert wrote them
OUTPUTS  the figure (png, pdf)
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Loss curves of inversions.")
    parser.add_argument(
        "--arms", type=Path, nargs="+", required=True, metavar="ZARR", help="lines, in this order"
    )
    parser.add_argument("--output", type=Path, required=True, help="X.png, and X.pdf beside it")
    add_identity_argument(parser)
    a = parser.parse_args()

    from rosetta_steps.inversion.figures.curves import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
