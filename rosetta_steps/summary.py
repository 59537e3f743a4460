"""Count Rosetta units and concepts of a sample set, for some K, from its stored tables."""

import argparse

from rosetta_steps.runtime.errors import run


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Rosetta units and concepts for some K.")
    parser.add_argument("--sample-set", default="faces", help="default %(default)s")
    parser.add_argument("--neighbours", type=int, nargs="+", default=[1, 5], help="K to try")
    parser.add_argument("--min-correlation", type=float, default=0.3, help="of average linkage")
    a = parser.parse_args()

    from rosetta_steps.display.summary import summary

    print(summary(a.sample_set, a.neighbours, a.min_correlation))


if __name__ == "__main__":
    run(main)
