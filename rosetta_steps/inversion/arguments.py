"""What guides an inversion or an edit, on a command line."""

import argparse
from pathlib import Path


def add_match_arguments(parser: argparse.ArgumentParser, generator_required: bool = True) -> None:
    """Add what guides an inversion or an edit; inversion.matches.matches_from reads it."""
    parser.add_argument("--generator", required=generator_required, help="name in the zoo")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    parser.add_argument("--models", nargs="*", default=[], help="whose matches guide")
    parser.add_argument(
        "--buddies", type=Path, nargs="*", default=[], metavar="CSV", help="one a model, in order"
    )
    parser.add_argument(
        "--moments",
        type=Path,
        nargs="*",
        default=[],
        metavar="ZARR",
        help="of the generator, then one a model, in order",
    )
    parser.add_argument("--neighbours", type=int, default=1, help="K, default %(default)s")
    parser.add_argument(
        "--min-correlation", type=float, default=0.3, help="of a pair, default %(default)s"
    )
    parser.add_argument("--memory-gb", type=float, default=2.0, help="budget, default %(default)s")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
