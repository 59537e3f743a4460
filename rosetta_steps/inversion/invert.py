"""Invert images through a fixed generator, guided by its matches with models (section 4.1).

INPUTS   target images, best buddies and moments of the generator with each model
OUTPUTS  X.zarr: latent, image, loss of every start and step, frames on the way
"""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.inversion.arguments import add_match_arguments
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Invert images through a generator, guided by its matches."
    )
    add_match_arguments(parser)
    parser.add_argument("--targets", type=Path, required=True, help="X.zarr of images")
    parser.add_argument("--class", dest="chosen_class", help="index or name; default: the target's")
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    parser.add_argument(
        "--without-matches",
        choices=["refuse", "leave-empty"],
        default="refuse",
        help="what to do where no pair is strong enough, default %(default)s",
    )
    add_options(parser.add_argument_group("optimisation"), Settings)
    add_identity_argument(parser)
    a = parser.parse_args()

    from rosetta_steps.inversion.inverter import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
