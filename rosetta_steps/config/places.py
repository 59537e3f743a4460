"""Origin of each setting of a merged config: the file, or the command line, that set it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rosetta_steps.config.yaml_files import read_yaml
from rosetta_steps.runtime.errors import UserError

COMMAND_LINE = "--config on the command line"


@dataclass(frozen=True)
class Origins:
    """Sources of a merged config; a later source overrides the earlier ones.

    Attributes:
        parts: Pairs of a source's name and its content, in the order of merging.
    """

    parts: tuple[tuple[str, Mapping], ...] = ()

    def of(self, place: Sequence) -> str:
        """Return the name of the source that set a place last.

        If no source has the place, the source that set the deepest part of its path is named, and
        failing that the first source.

        Args:
            place: Keys and list indices that lead from the top level to the value.
        """
        best, depth = (self.parts[0][0] if self.parts else "the config"), 0
        for name, value in self.parts:
            there = _depth(value, place)
            if there >= max(depth, 1):
                best, depth = name, there
        return best

    def is_text_only(self, place: Sequence) -> bool:
        """Whether a place was set by --config, where Snakemake reads values in braces as text."""
        return self.of(place) == COMMAND_LINE


NOWHERE = Origins()


def read_origins(files: Sequence[Path], command_line: Mapping | None = None) -> Origins:
    """Read the files of a config in the order in which Snakemake merges them.

    Args:
        files: Paths of the files. The first may be missing. A path that is no regular file, such as
            a pipe, is skipped, because Snakemake has already read it.
        command_line: Settings given by --config.

    Raises:
        ValueError: read_yaml refuses a file, or its top level is no mapping.
    """
    parts: list[tuple[str, Mapping]] = []
    for number, file in enumerate(map(Path, files)):
        if (number == 0 and not file.exists()) or (file.exists() and not file.is_file()):
            continue
        name = shown(file)
        parts.append((name, settings_of(file, name)))
    if command_line:
        parts.append((COMMAND_LINE, command_line))
    return Origins(tuple(parts))


def settings_of(file: Path, name: str | None = None) -> dict:
    """Read the settings of a config file.

    Args:
        file: Path of a YAML or JSON file.
        name: Name of the file in errors; its path if None.

    Raises:
        ValueError: read_yaml refuses the file, or its top level is no mapping.
    """
    value = read_yaml(file)
    if isinstance(value, dict):
        return value
    found = "is empty" if value is None else f"holds a {type(value).__name__} at its top level"
    raise UserError(
        f"{name or file} {found}: expected settings such as 'neighbours: 5'. Write one, or leave "
        "the file out."
    )


def shown(file: Path) -> str:
    """Return a path relative to the working folder if it lies within, else the absolute path."""
    path, here = Path(file).absolute(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _depth(value, place: Sequence) -> int:
    for number, key in enumerate(place):
        in_mapping = isinstance(value, Mapping) and key in value
        in_list = isinstance(value, list) and isinstance(key, int) and key < len(value)
        if not (in_mapping or in_list):
            return number
        value = value[key]
    return len(place)
