"""Correlate every unit of one model with every unit of another: eq. 2 of the paper.

INPUTS   activations, or streams, and moments of two models
OUTPUTS  X.zarr: the table of correlations, or the nearest partners of each unit
         with --measure-b: moments of the second model
"""

import argparse
import os
from pathlib import Path

from rosetta_steps.config.options import add_options, options_from
from rosetta_steps.correlation.settings import SLURM, Correlation
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Correlate all units of two models.")
    for side, which in (("a", "first"), ("b", "second")):
        parser.add_argument(
            f"--{side}", type=Path, required=True, help=f"X.zarr or X.json of the {which}"
        )
        parser.add_argument(
            f"--moments-{side}", type=Path, required=True, help=f"moments of the {which}"
        )
    parser.add_argument(
        "--samples", type=Path, help="X.zarr of the images, within whose classes decoys move them"
    )
    parser.add_argument(
        "--measure-b",
        action="store_true",
        help="take moments of the second in the same pass over the images, and write --moments-b",
    )
    parser.add_argument("--identity-of-moments", help=argparse.SUPPRESS)
    add_options(parser.add_argument_group("computation"), Correlation)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    parser.add_argument(
        "--nearest",
        type=int,
        default=0,
        metavar="K",
        help="keep the K best partners of each unit, in both directions, and not the table",
    )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    o = parser.parse_args()

    from rosetta_steps.correlation.step import correlate

    # Workers that are Slurm jobs have the devices.
    lease(count=0 if o.scheduler == SLURM else o.gpus)
    correlate(
        o.a,
        o.b,
        o.moments_a,
        o.moments_b,
        o.output,
        samples=o.samples,
        settings=options_from(o, Correlation),
        threads=o.threads,
        nearest=o.nearest,
        measure_b=o.measure_b,
        identity=o.identity,
        identity_of_moments=o.identity_of_moments,
    )


if __name__ == "__main__":
    run(main)
