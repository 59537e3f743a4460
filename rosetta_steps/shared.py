"""Ask which units some models share and others do not, or which only one model has.

INPUTS   results/partners/{sample_set}/, which `snakemake coverage` writes
OUTPUTS  a table on screen, as X.csv, and as a page with images (--page)

    python -m rosetta_steps.shared --by efficientnet-lite0 efficientnet-lite2 --not-by open-nsfw
    python -m rosetta_steps.shared --only-in open-nsfw --page only/open-nsfw/index.html
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample-set", default="faces", help="default %(default)s")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--by", nargs="+", metavar="MODEL", help="units of the generator they share")
    which.add_argument("--only-in", metavar="MODEL", help="its units without a best buddy")
    parser.add_argument("--not-by", nargs="+", metavar="MODEL", default=[], help="with --by")
    parser.add_argument("--first", type=int, default=20, help="rows on screen, default %(default)s")
    parser.add_argument("--output", type=Path, help="X.csv to write, all rows")
    parser.add_argument(
        "--page", type=Path, metavar="DIR/index.html", help="with images of the rows on screen"
    )
    a = parser.parse_args()

    from rosetta_steps.website.answers import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
