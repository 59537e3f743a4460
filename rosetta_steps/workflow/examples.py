"""What config/examples has, for whoever asks for it by name without laying it over the config."""

from pathlib import Path

from rosetta_steps.config.schema import suggestion
from rosetta_steps.config.yaml_files import read_yaml

FOLDER = Path("config/examples")


def where_to_find(section: str, name: str, names: list[str]) -> str:
    """A sentence that says where a name is found that a section of the config does not have.

    Args:
        section: Key of the config, such as `sample_sets`.
        name: Name that is missing there.
        names: Names that the section has.

    Returns:
        The example that has it, or else the nearest names.
    """
    for path in examples_of(section, name):
        return f"It is in {path}: add --configfile {path}."
    return suggestion(name, names)


def examples_of(section: str, name: str | None = None) -> list[Path]:
    """Examples whose section has a name, or any name at all."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        try:
            content = read_yaml(path)
        except ValueError:
            continue  # It is read to help with another error only.
        own = content.get(section) if isinstance(content, dict) else None
        if isinstance(own, dict) and (name in own if name else own):
            found.append(path)
    return found
