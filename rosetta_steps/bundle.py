"""Put a dictionary and what others need of it into one folder, with checksums and licences.

INPUTS   the dictionary with its pages, evidence, best buddies; images; maps and moments of the
         generator
OUTPUTS  results/bundles/{sample_set}/: sharing.bundle says what is in it
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write a dictionary as a bundle.")
    parser.add_argument(
        "--artefacts", type=Path, nargs="+", required=True, help="files and stores under results/"
    )
    parser.add_argument("--settings", required=True, help="of the mining, as JSON")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--identity", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, required=True, help="bundle.json in the folder")
    a = parser.parse_args()

    from rosetta_steps.sharing.bundle import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
