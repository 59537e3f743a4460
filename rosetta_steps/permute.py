"""How far units agree beyond what permuted images would give, by exact moments of permutations.

INPUTS   activations (or streams) of two models, their best buddies, and the samples
OUTPUTS  X.zarr: z and p of every best buddy, and the histogram of z over all pairs of units
         X.png, X.pdf: the histogram
"""

import argparse
import os
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.evidence.settings import Evidence
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Agreement of units beyond permuted images.")
    for side, which in (("a", "first"), ("b", "second")):
        parser.add_argument(
            f"--{side}", type=Path, required=True, help=f"X.zarr or X.json of the {which} model"
        )
    parser.add_argument("--buddies", type=Path, required=True, help="their best buddies")
    parser.add_argument("--samples", type=Path, required=True, help="Zarr store of the images")
    add_options(parser, Evidence, ["level"])
    add_options(parser, Correlation, ["images_per_block"])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.display.z_histogram import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
