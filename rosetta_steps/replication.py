"""How many best buddies survive on other images: a table, and a figure for print.

INPUTS   tables of replicated pairs, one a model, and the sums over images that they follow from
OUTPUTS  X.csv: a row a group of pairs (matching.tables.REPLICATION), X.png and X.pdf
"""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.evidence.settings import Evidence
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Survival of best buddies on other images.")
    parser.add_argument(
        "--pairs", type=Path, nargs="+", required=True, help="replicated pairs, X.csv of each model"
    )
    parser.add_argument(
        "--image-sums",
        type=Path,
        nargs="+",
        required=True,
        help="of the mined sample set, one for each of --pairs, then of each of --comparisons",
    )
    parser.add_argument(
        "--comparisons",
        nargs="+",
        required=True,
        choices=("confirmation", "reference"),
        help="what the other sample sets are; reference: of the mined one's distribution",
    )
    add_options(parser, Correlation, ["similarity"])
    add_options(parser, Evidence, ["resamples"])
    add_identity_argument(parser)
    parser.add_argument(
        "--output", type=Path, required=True, help="X.csv to write, X.png and X.pdf beside it"
    )
    a = parser.parse_args()

    from rosetta_steps.display.replication import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
