"""Match a network of one's own with a published dictionary, without its zoo or its generator.

INPUTS   a bundle (`snakemake bundle` writes one), and an entry of the zoo
OUTPUTS  concepts.csv: a row a concept of the dictionary (matching.tables.JOINED); index.html, the
         concepts that the network has; results/, laid out as the workflow's

    python -m rosetta_steps.join my-model --bundle faces/
"""

import argparse
import os
from pathlib import Path

from rosetta_steps.runtime.errors import run


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Match a network with a published dictionary.")
    parser.add_argument("model", help="name of the network in the zoo")
    parser.add_argument(
        "--bundle", required=True, help="folder, or https address of a zip file that holds one"
    )
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default %(default)s")
    parser.add_argument("--output", type=Path, help="folder, default joined/MODEL--SAMPLE_SET")
    a = parser.parse_args()

    from rosetta_steps.sharing.joining import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
