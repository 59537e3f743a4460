"""Table 1 of the paper: how close the inversions of each arm come to their targets.

INPUTS   samples store of the targets; X.zarr of every arm, as rosetta_steps.inversion.invert wrote
OUTPUTS  table.csv         method, psnr, ssim, perceptual distances, images, note; a row an arm
         table-images.csv  every image of every arm, with its start and last losses
         table-tests.csv   95 % intervals of the means, and paired tests against one arm
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument

BASELINE = "reconstruction"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Compare arms of inversions: Table 1.")
    parser.add_argument("--targets", type=Path, required=True, help="X.zarr of images")
    parser.add_argument(
        "--arms", type=Path, nargs="+", required=True, metavar="ZARR", help="rows, in this order"
    )
    parser.add_argument(
        "--metrics",
        nargs="*",
        default=[],
        metavar="NAME",
        help="besides PSNR and SSIM: metrics by name, lpips, or models of the zoo as networks",
    )
    parser.add_argument(
        "--perceptual-size",
        type=int,
        default=128,
        help="pixels a side of what a model of the zoo sees, default %(default)s",
    )
    parser.add_argument(
        "--baseline", default=BASELINE, help="arm to compare with, default %(default)s"
    )
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--output", type=Path, required=True, help="table.csv to write")
    parser.add_argument("--images", type=Path, help="default: table-images.csv beside it")
    parser.add_argument("--tests", type=Path, help="default: table-tests.csv beside it")
    add_identity_argument(parser)
    a = parser.parse_args()

    from rosetta_steps.inversion.comparison import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
