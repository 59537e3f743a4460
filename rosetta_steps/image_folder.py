"""A sample set of real images: the files of folders or globs, resized, instead of a generator's."""

import argparse
from pathlib import Path

from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import add_identity_argument


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make a sample set of image files.")
    parser.add_argument(
        "--images",
        nargs="+",
        required=True,
        metavar="FOLDER_OR_GLOB",
        help="a folder (all images below it) or a quoted glob, such as 'photos/**/*.jpg'",
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        required=True,
        metavar=("Y", "X"),
        help="in pixels; images are stretched to it, never cropped: the aspect ratio changes",
    )
    parser.add_argument("--limit", type=int, help="so many images, in order of path; default all")
    parser.add_argument(
        "--per-class",
        type=int,
        help="so many images of every folder, named by a WordNet number of ImageNet; with labels",
    )
    parser.add_argument(
        "--unreadable",
        choices=["refuse", "skip"],
        default="refuse",
        help="what to do if a file cannot be read, default %(default)s",
    )
    add_identity_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="X.zarr to write")
    a = parser.parse_args()

    from rosetta_steps.stimuli.image_folder import gather

    gather(
        a.images,
        tuple(a.size),
        a.output,
        limit=a.limit,
        unreadable=a.unreadable,
        per_class=a.per_class,
        identity=a.identity,
    )


if __name__ == "__main__":
    run(main)
