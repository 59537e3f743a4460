"""Put two dictionaries of a generator side by side: what stays, changes, comes and goes.

INPUTS   two rosetta.csv, each with its manifest (X.csv.done.json)
OUTPUTS  X.csv: a row a concept of either (matching.tables.COMPARED); X.png and X.pdf; on screen how
         many concepts stay, change, come and go

The two may differ in K, seed, images, clustering, zoo or version. Give the paths of the tables, or
names of sample sets of this folder:

    python -m rosetta_steps.compare faces other/results/dictionary/faces/rosetta.csv --output X.csv
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Compare two dictionaries of one generator.")
    parser.add_argument("a", metavar="A", help="rosetta.csv, or the name of a sample set")
    parser.add_argument("b", metavar="B", help="the same")
    parser.add_argument("--output", type=Path, help="X.csv to write, with X.png and X.pdf beside")
    parser.add_argument("--names", nargs=2, metavar=("A", "B"), help="what each is, for the figure")
    a = parser.parse_args()

    from rosetta_steps.display.compared import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
