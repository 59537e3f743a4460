"""A `snakemake` command that lets target names follow `--resources` and `--configfile`.

Snakemake's `--resources` takes every word up to the next option, so in

    snakemake --cores all --resources gpu=4 dictionary

plain Snakemake reads `dictionary` as a malformed resource and refuses; after `--configfile a.yaml`
it would be the name of a second file. This module moves such words to the front of the command
line. It also reads the config files before Snakemake does, which would not say in which line one is
no YAML, and leaves the rest to Snakemake, whose jobs call the `python` of this environment,
activated or not. It is only a convenience: rosetta_steps never imports it, and `python -m
snakemake` goes past it.
"""

import importlib
import os
import sys
from pathlib import Path

RESOURCE_OPTIONS = ("--resources", "--res")
CONFIG_OPTIONS = ("--configfile", "--configfiles")
CONFIG_ENDINGS = (".yaml", ".yml", ".json")
RESULTS = "results/"
READER = Path("rosetta_steps", "config", "places.py")


def reorder(argv: list[str]) -> list[str]:
    """Return the arguments with the targets that follow such a list moved to the front.

    A list of resources ends at its first word without "=". A list of config files ends at its first
    word, but for the first of all, that does not end like one or lies in results/. That word and
    all others up to the next option are targets. Everything else stays as it is and in its order,
    and so does everything from "--" on.

    >>> reorder(["--cores", "all", "--resources", "gpu=4", "dictionary"])
    ['dictionary', '--cores', 'all', '--resources', 'gpu=4']
    >>> reorder(["--configfile", "mine.yaml", "dictionary"])
    ['dictionary', '--configfile', 'mine.yaml']
    """
    targets: list[str] = []
    others: list[str] = []
    option, number = "", 0
    in_targets = False
    for position, word in enumerate(argv):
        if word == "--":
            others += argv[position:]
            break
        if word.startswith("-"):
            option, number, in_targets = word, 0, False
        else:
            number += 1
            if option in RESOURCE_OPTIONS:
                in_targets = in_targets or "=" not in word
            elif option in CONFIG_OPTIONS and number > 1:
                in_targets = in_targets or not _is_config(word)
        (targets if in_targets else others).append(word)
    return targets + others


def _is_config(word: str) -> bool:
    return word.lower().endswith(CONFIG_ENDINGS) and not word.startswith(RESULTS)


def config_files(argv: list[str]) -> list[str]:
    """The config files that reordered arguments name.

    >>> config_files(["--configfile", "a.yaml", "b.yaml", "-n", "--configfile=c.yaml"])
    ['a.yaml', 'b.yaml', 'c.yaml']
    """
    found: list[str] = []
    inside = False
    for word in argv:
        if word == "--":
            break
        option, equals, value = word.partition("=")
        if word.startswith("-"):
            inside = option in CONFIG_OPTIONS
            if inside and equals:
                found.append(value)
        elif inside:
            found.append(word)
    return found


def refuse_wrong_files(files: list[str], folder: Path = Path()) -> None:
    """End with one line if a config file is missing, empty or no YAML.

    Args:
        files: As the command line names them.
        folder: That of rosetta_steps, whose reader is used; elsewhere nothing is checked.

    Raises:
        SystemExit: The file, the line in it where it is known, and what to do.
    """
    if not files or not (folder / READER).is_file():
        return
    path = [*sys.path]
    sys.path.insert(0, str(folder.absolute()))
    try:
        settings_of = importlib.import_module("rosetta_steps.config.places").settings_of
        for file in files:
            if Path(file).is_file() or not Path(file).exists():  # a pipe can be read once only
                settings_of(file)
    except ValueError as error:
        raise SystemExit(f"{error}") from None
    finally:
        sys.path[:] = path
        for name in [name for name in sys.modules if name.split(".")[0] == "rosetta_steps"]:
            del sys.modules[name]  # the workflow may be that of another folder


def main() -> None:
    """Run Snakemake on this process's arguments, reordered, if its config files can be read."""
    argv = reorder(sys.argv[1:])
    refuse_wrong_files(config_files(argv))
    from snakemake.cli import main as snakemake_main

    here = os.path.dirname(sys.executable)
    os.environ["PATH"] = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    snakemake_main(argv)


if __name__ == "__main__":
    main()
