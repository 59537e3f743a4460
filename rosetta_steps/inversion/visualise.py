"""Visualise units and concepts: images optimised for one pair of units (section 4.1, figure 1).

For each, eq. 5 has one match, the generator's unit and the model unit that correlates most with it,
and its target is the mined image on which both fire most. All random starts are kept. They are the
same for every pair, so that what differs between two pairs is what the pairs stand for.

INPUTS   rosetta.csv, the samples, and of the generator and every model matched maps and moments
OUTPUTS  X.zarr: image (pair, start, rgb, y, x) in [0, 1], latent, loss (pair, start, step, term)
         figure1.png, figure1.pdf: strongest real examples beside the optimised images
"""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.display.arguments import add_input_arguments
from rosetta_steps.inversion.settings import CONCEPTS, DEFAULTS_OF_A_PAIR, Settings
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Visualise units or concepts: images optimised for one pair of units."
    )
    add_input_arguments(parser)
    parser.add_argument("--generator", help="name in the zoo, default: the table's")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--concepts", nargs="+", help=f"their ids; default: the {CONCEPTS} strongest distinct ones"
    )
    which.add_argument("--units", nargs="+", help="of the generator, such as main.2:17")
    parser.add_argument("--images", type=int, default=2, help="real examples, default %(default)s")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="budget, default %(default)s")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    parser.add_argument("--figure", type=Path, help="default: X.png, and always a PDF beside it")
    add_options(parser.add_argument_group("optimisation"), Settings, **DEFAULTS_OF_A_PAIR)
    add_identity_argument(parser)
    a = parser.parse_args()

    from rosetta_steps.inversion.visualisation import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
