"""Edit images through the maps of a generator's matched units (section 4.2 of the paper).

The maps are edited, and the latent is optimised until the generator makes them. Beside it, for
comparison, the maps are replaced in the running generator, which the paper advises against.

INPUTS   latents of a generator (samples, an inversion or an edit), its matches and moments
OUTPUTS  X.zarr: before, after, direct (image, rgb, y, x), latent, loss, heat of some units
         X.csv: a row an image and unit: how far its map moved, how alike it is to before
"""

import argparse
from pathlib import Path
from typing import Any

from rosetta_steps.config.options import add_options
from rosetta_steps.editing.kinds import DIRECTION, FACTOR, KINDS, LEVEL
from rosetta_steps.editing.settings import DEFAULTS, KEEP, RANDOM_STARTS, STARTS
from rosetta_steps.inversion.arguments import add_match_arguments
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Edit images through the maps of a generator's matched units. Defaults that "
        "depend: space and truncation are those of the source, similarity is pearson for zoom_in, "
        "shift and copy_and_paste and distance for the others, which set a level; starts are "
        f"{RANDOM_STARTS} where they are random."
    )
    add_match_arguments(parser)
    parser.add_argument("--source", type=Path, required=True, help="X.zarr with latents")
    parser.add_argument("--images", type=int, nargs="+", help="their numbers, default: all")
    parser.add_argument("--edit", choices=KINDS, required=True)
    parser.add_argument(
        "--shift",
        type=float,
        nargs=2,
        default=DIRECTION,
        metavar=("DY", "DX"),
        help="of shift and copy_and_paste, shares of the size down and right, default 0 0.25",
    )
    parser.add_argument(
        "--factor", type=float, default=FACTOR, help="of amplify, default %(default)s"
    )
    parser.add_argument("--mask", type=Path, help="of paint: an image of the generator's size")
    parser.add_argument(
        "--level",
        type=float,
        default=LEVEL,
        help="of paint, from a unit's least to its greatest value over the dataset, "
        "default %(default)s",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--units", nargs="+", help="such as main.2:17; default: all matched ones")
    which.add_argument("--concepts", nargs="+", help="ids of concepts of --table")
    parser.add_argument("--table", type=Path, help="rosetta.csv; its other units are measured too")
    parser.add_argument(
        "--keep",
        type=float,
        default=KEEP,
        help="weight of all matched units that are not edited, relative to those that are, "
        "default %(default)s",
    )
    parser.add_argument(
        "--start", choices=STARTS, help="default: source; of copy_and_paste: random"
    )
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write, and X.csv")
    later: dict[str, Any] = dict.fromkeys(("space", "truncation", "similarity", "starts"))
    add_options(parser.add_argument_group("optimisation"), Settings, **later, **DEFAULTS)
    add_identity_argument(parser)
    a = parser.parse_args()

    from rosetta_steps.editing.images import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
