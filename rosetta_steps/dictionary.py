"""The dictionary to look at: every concept as heatmaps over example images, on one page.

INPUTS   rosetta.csv, the samples, and of the generator and every model matched maps and moments
OUTPUTS  index.html, trust.html and concepts/ beside it; pages read nothing from anywhere else
"""

import argparse
from pathlib import Path

from rosetta_steps.display.arguments import add_input_arguments
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line: write the page of one sample set."""
    parser = argparse.ArgumentParser(
        prog="python -m rosetta_steps.dictionary", description=__doc__.splitlines()[0]
    )
    add_input_arguments(parser)
    parser.add_argument(
        "--evidence",
        type=Path,
        nargs="*",
        default=[],
        metavar="CSV",
        help="evidence of the generator's best buddies, one table a model; adds trust.html",
    )
    parser.add_argument("--names", type=Path, metavar="CSV", help="plain names of units")
    parser.add_argument(
        "--labels", type=Path, nargs="*", default=[], metavar="CSV", help="labels of units"
    )
    parser.add_argument(
        "--untrained",
        type=Path,
        nargs="*",
        default=[],
        metavar="CSV",
        help="best buddies with models and with their untrained copies, one table a model",
    )
    parser.add_argument("--output", type=Path, required=True, help="the page, DIR/index.html")
    parser.add_argument("--top", type=int, default=3, help="example images of most response")
    parser.add_argument("--middle", type=int, default=2, help="example images around the median")
    parser.add_argument("--low", type=int, default=1, help="example images of least response")
    parser.add_argument(
        "--picture-size", type=int, default=128, help="longer side of a picture in pixels"
    )
    parser.add_argument(
        "--settings", default="", help="what else it was mined with, in words, for the page's head"
    )
    add_identity_argument(parser)
    arguments = parser.parse_args()

    from rosetta_steps.display.dictionary import write_page
    from rosetta_steps.display.reading import open_from_arguments

    write_page(
        open_from_arguments(arguments),
        arguments.output,
        top=arguments.top,
        middle=arguments.middle,
        low=arguments.low,
        picture_size=arguments.picture_size,
        settings=arguments.settings,
        identity=arguments.identity or "",
    )


if __name__ == "__main__":
    run(main)
