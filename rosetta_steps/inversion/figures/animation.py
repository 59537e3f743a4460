"""An inversion as an animation: targets above, and below them what is optimised, step by step.

INPUTS   X.zarr with frames, as rosetta_steps.inversion.invert --frames N wrote it; its targets
OUTPUTS  X.webp or X.gif
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument

FIRST = 4  # images shown, unless others are asked for


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="An inversion as an animation.")
    parser.add_argument("--inversion", type=Path, required=True, help="X.zarr with frames")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--images", type=int, nargs="+", help="their numbers, one a column")
    which.add_argument(
        "--count",
        type=int,
        default=FIRST,
        help="so many of the first images, or all there are, default %(default)s",
    )
    parser.add_argument("--targets", type=Path, help="default: where the inversion found them")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument(
        "--milliseconds", type=int, default=120, help="of a frame, default %(default)s"
    )
    parser.add_argument("--output", type=Path, required=True, help="X.webp or X.gif")
    add_identity_argument(parser)
    a = parser.parse_args()

    from rosetta_steps.inversion.figures.frames import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
