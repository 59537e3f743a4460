"""Figures for print, after figures 2 and 3 of the paper: concepts as heatmaps.

INPUTS   rosetta.csv, the samples, and of the generator and every model matched maps and moments
OUTPUTS  figure2.pdf, figure2.png (every concept's generator unit on one image) and
         figure3.pdf, figure3.png (some concepts x all models x some images)
"""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.display.arguments import add_input_arguments
from rosetta_steps.display.settings import Figures
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line: write the figures of one sample set."""
    parser = argparse.ArgumentParser(
        prog="python -m rosetta_steps.figures", description=__doc__.splitlines()[0]
    )
    add_input_arguments(parser)
    parser.add_argument("--output-directory", type=Path, required=True)
    add_options(parser, Figures)
    add_identity_argument(parser)
    arguments = parser.parse_args()

    from rosetta_steps.display.figures import write_figures
    from rosetta_steps.display.reading import open_from_arguments

    write_figures(
        open_from_arguments(arguments),
        arguments.output_directory,
        concepts=arguments.concepts,
        images=arguments.images,
        identity=arguments.identity,
    )


if __name__ == "__main__":
    run(main)
