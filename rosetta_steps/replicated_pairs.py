"""Best buddies of one sample set on other images: whether they are best buddies there too.

INPUTS   correlations, best buddies, moments and sums over images of two models, each of the mined
         sample set and of one or two others
OUTPUTS  X.csv: a row a comparison and best buddy (matching.tables.REPLICATED_PAIRS)
"""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.evidence.settings import Evidence
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Best buddies on other images.")
    order = "of the mined sample set, then of one for each of --comparisons"
    for option, what in (
        ("--correlations", "correlations"),
        ("--buddies", "best buddies"),
        ("--moments-a", "moments of the first model"),
        ("--moments-b", "moments of the second model"),
        ("--image-sums", "sums over images of the best buddies"),
    ):
        parser.add_argument(
            option, type=Path, nargs="+", required=True, metavar="PATH", help=f"{what}, {order}"
        )
    parser.add_argument(
        "--comparisons",
        nargs="+",
        required=True,
        choices=("confirmation", "reference"),
        help="what the other sample sets are; reference: of the mined one's distribution",
    )
    parser.add_argument(
        "--neighbours", type=int, default=5, help="K of the best buddies, default %(default)s"
    )
    add_options(parser, Evidence, ["resamples"])
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.csv to write")
    a = parser.parse_args()

    from rosetta_steps.evidence.replicated_pairs import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
