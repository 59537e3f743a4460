"""A `snakemake` command that lets target names follow `--resources`.

Snakemake's `--resources` takes every word up to the next option, so in

    snakemake --cores all --resources gpu=4 dictionary

plain Snakemake reads `dictionary` as a malformed resource and refuses. This module moves
such words to the front of the command line and leaves the rest to Snakemake, whose jobs call
the `python` of this environment, activated or not. It is only a convenience: rosetta_steps never
imports it, and `python -m snakemake` goes past it.
"""

import os
import sys

RESOURCE_OPTIONS = ("--resources", "--res")


def reorder(argv: list[str]) -> list[str]:
    """Return the arguments with the targets that follow a list of resources moved to the front.

    A list of resources ends at its first word without "=". That word and all others up to
    the next option are targets. Everything else stays as it is and in its order, and so
    does everything from "--" on.

    >>> reorder(["--cores", "all", "--resources", "gpu=4", "dictionary"])
    ['dictionary', '--cores', 'all', '--resources', 'gpu=4']
    """
    targets: list[str] = []
    others: list[str] = []
    in_resources = False
    in_targets = False
    for position, word in enumerate(argv):
        if word == "--":
            others += argv[position:]
            break
        if word.startswith("-"):
            in_resources = word in RESOURCE_OPTIONS
            in_targets = False
        elif in_resources and "=" not in word:
            in_targets = True
        (targets if in_targets else others).append(word)
    return targets + others


def main() -> None:
    """Run Snakemake on this process's arguments, reordered."""
    from snakemake.cli import main as snakemake_main

    here = os.path.dirname(sys.executable)
    os.environ["PATH"] = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    snakemake_main(reorder(sys.argv[1:]))


if __name__ == "__main__":
    main()
