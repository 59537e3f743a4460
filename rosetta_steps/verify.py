"""Hold stored correlations against eq. 2 as written: both maps upsampled, in float64.

Of a table, pairs of units are drawn, those that never vary among them; where only the nearest
partners were kept, some of those.
"""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample-set", default="faces", help="default %(default)s")
    parser.add_argument("--folder", type=Path, default=Path("results"), help="default %(default)s")
    parser.add_argument("--pairs", type=int, default=250, help="of each table, default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    o = parser.parse_args()

    from rosetta_steps.correlation.verification import verify

    verify(o.sample_set, o.folder, o.pairs, o.seed)


if __name__ == "__main__":
    run(main)
