"""Keep the maps of matched units: of the channels that are in best buddies, on every image.

Pages, figures and visualisations read these, whether all channels were dumped before (and are then
copied from there) or the model ran while it was correlated (and then runs once more).

INPUTS   activations, or a stream; tables of best buddies
OUTPUTS  X.zarr: as activations, with a coordinate `channel`
"""

import argparse
import os
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.maps.settings import Storing
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--maps", type=Path, required=True, help="X.zarr of activations, or a stream (.json)"
    )
    parser.add_argument(
        "--buddies", type=Path, nargs="+", required=True, metavar="CSV", help="best buddies"
    )
    parser.add_argument(
        "--side", choices=["a", "b"], required=True, help="on which the model stands in them"
    )
    add_options(parser, Storing, ["images_per_shard"])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.maps.matched import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
