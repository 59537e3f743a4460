"""Figures of inversions for print, after figures 4 to 7 of the paper.

comparison   figure 7: targets | inverted by every arm, with their PSNR
guidance     figure 4: maps of some matched pairs on one target, before and after
translation  figures 5 and 6: targets of another domain, maps of some pairs, generated images

INPUTS   samples store of the targets; X.zarr of the arms, as rosetta_steps.inversion.invert wrote;
         but for a comparison, best buddies and moments of the arm
OUTPUTS  the figure (png, pdf)
"""

import argparse
from pathlib import Path

from rosetta_steps.inversion.arguments import add_match_arguments
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument

COUNTS = {"comparison": 5, "guidance": 1, "translation": 5}  # images shown
PAIRS = {"comparison": 0, "guidance": 6, "translation": 3}  # pairs shown


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Figures of inversions, after 4 to 7 of the paper."
    )
    add_match_arguments(parser, generator_required=False)
    parser.add_argument("--targets", type=Path, required=True, help="X.zarr of images")
    parser.add_argument(
        "--arms", type=Path, nargs="+", required=True, metavar="ZARR", help="columns, in this order"
    )
    parser.add_argument("--kind", choices=COUNTS, required=True)
    parser.add_argument("--count", type=int, help="images shown, default 5; of guidance 1")
    parser.add_argument("--images", type=int, nargs="+", help="their numbers, default: by a rule")
    parser.add_argument("--pairs", type=int, help="shown, default 6 of guidance, 3 of translation")
    parser.add_argument("--output", type=Path, required=True, help="X.png, and X.pdf beside it")
    add_identity_argument(parser)
    a = parser.parse_args()
    a.count = COUNTS[a.kind] if a.count is None else a.count
    a.pairs = PAIRS[a.kind] if a.pairs is None else a.pairs

    from rosetta_steps.inversion.figures.printed import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
