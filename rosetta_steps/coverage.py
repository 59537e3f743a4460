"""Count and draw how much of each layer is shared, by depth, and how much would be by chance.

INPUTS   partners of the generator with every model
OUTPUTS  X.csv: a row a layer (matching.tables.COVERAGE); X.png and X.pdf
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="How much of each layer is shared.")
    parser.add_argument(
        "--partners", type=Path, nargs="+", required=True, help="X.csv of each model"
    )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.csv to write")
    a = parser.parse_args()

    from rosetta_steps.display.coverage import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
