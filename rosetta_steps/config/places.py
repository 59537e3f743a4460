"""Which file a setting of a merged config came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rosetta_steps.config.yaml_files import read_yaml
from rosetta_steps.runtime.errors import UserError

COMMAND_LINE = "--config on the command line"


@dataclass(frozen=True)
class Origins:
    """Where a config was put together from, each laid over the ones before.

    Attributes:
        parts: (name, what it says), in the order in which they were laid over each other.
    """

    parts: tuple[tuple[str, Mapping], ...] = ()

    def of(self, place: Sequence) -> str:
        """The name of what set a place last, or the nearest place around it; the first's if none.

        Args:
            place: Keys and indices from the top.
        """
        best, depth = (self.parts[0][0] if self.parts else "the config"), 0
        for name, value in self.parts:
            there = _depth(value, place)
            if there >= max(depth, 1):
                best, depth = name, there
        return best

    def is_text_only(self, place: Sequence) -> bool:
        """Whether a place was set on the command line, where Snakemake takes what is in braces."""
        return self.of(place) == COMMAND_LINE


NOWHERE = Origins()


def read_origins(files: Sequence[Path], command_line: Mapping | None = None) -> Origins:
    """Read the files of a config, in the order in which Snakemake merges them.

    Args:
        files: The first may be missing; what is no regular file (a pipe) has been read by Snakemake
            and is left out.
        command_line: What --config gave.

    Raises:
        ValueError: As read_yaml, and where a file holds no keys at its top level.
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
    """What a config file says.

    Args:
        file: YAML or JSON.
        name: Of it, for errors; its path if None.

    Raises:
        ValueError: As read_yaml, or it holds no keys at its top level.
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
    """A path as one would type it in the working folder."""
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
