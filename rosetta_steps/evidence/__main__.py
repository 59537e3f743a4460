"""Evidence of every best buddy of two models: which tests it passes, as a table.

INPUTS   correlations with decoys, best buddies, moments of both models, sums over images;
         covariances of the second model, if pairs are to be held against its whole layers
OUTPUTS  X.csv: a row a best buddy (matching.tables.EVIDENCE)
"""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options, names_in_config, options_from
from rosetta_steps.evidence.settings import Evidence
from rosetta_steps.matching.settings import NEIGHBOURS
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m rosetta_steps.evidence", description="Evidence of best buddies."
    )
    parser.add_argument("--correlations", type=Path, required=True, help="X.zarr of both models")
    parser.add_argument("--buddies", type=Path, required=True, help="their best buddies")
    for side, which in (("a", "first"), ("b", "second")):
        parser.add_argument(
            f"--moments-{side}", type=Path, required=True, help=f"moments of the {which} model"
        )
    parser.add_argument("--image-sums", type=Path, required=True, help="sums over their images")
    parser.add_argument(
        "--covariances",
        type=Path,
        help="covariances of the second model, for rotated bases and linear readouts of its layers",
    )
    parser.add_argument(
        "--untrained",
        type=Path,
        nargs="*",
        default=[],
        metavar="ZARR",
        help="correlations of the first model with untrained copies of the second",
    )
    parser.add_argument(
        "--neighbours",
        type=int,
        default=NEIGHBOURS,
        help="K of the best buddies, default %(default)s",
    )
    add_options(parser, Evidence, [name for name in names_in_config(Evidence) if name != "spread"])
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.csv to write")
    a = parser.parse_args()
    a.spread = a.covariances is not None

    from rosetta_steps.evidence.table import write_evidence

    write_evidence(
        a.correlations,
        a.buddies,
        (a.moments_a, a.moments_b),
        a.image_sums,
        a.output,
        neighbours=a.neighbours,
        untrained=a.untrained,
        settings=options_from(a, Evidence),
        covariances=a.covariances,
        identity=a.identity,
    )


if __name__ == "__main__":
    run(main)
