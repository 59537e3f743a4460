"""Words of a vocabulary on every image, scored by a model of images and text.

INPUTS   a sample set, a vocabulary, weights of a model of the loader open_clip
OUTPUTS  X.zarr: score (image, label)
"""

import argparse
from pathlib import Path

from rosetta_steps.config.options import add_options
from rosetta_steps.labelling.settings import Labelling
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Words of a vocabulary on every image.")
    parser.add_argument("--samples", type=Path, required=True, help="X.zarr of the images")
    parser.add_argument("--vocabulary", type=Path, required=True, help="words, one a line")
    parser.add_argument("--model", required=True, help="of the loader open_clip")
    parser.add_argument("--zoo", default="config/models.yaml", help="default %(default)s")
    add_options(parser, Labelling, ["template"])
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.labelling.words import carry_out

    carry_out(a)


if __name__ == "__main__":
    run(main)
