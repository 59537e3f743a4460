"""The `architecture` of an entry: a name, or keys of which each loader has its own."""

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entries import suggestion
from rosetta_steps.zoo.entry import Entry


def read_architecture(name: str, entry: Entry, known: tuple[str, ...], needed: str = "") -> dict:
    """The `architecture` of an entry as a mapping; a bare name is its key `name`.

    Args:
        name: Of the model, for errors.
        entry: Of the model.
        known: The keys its loader knows.
        needed: The one that may not be missing.

    Raises:
        ValueError: A key is unknown, or the one that is needed is missing.
    """
    architecture = entry.keywords
    for key in architecture:
        if key not in known:
            raise UserError(
                f"{name}: architecture has the unknown key '{key}'. {suggestion(key, list(known))}"
            )
    if needed and needed not in architecture:
        raise UserError(
            f"{name}: architecture is {entry.architecture}, without '{needed}', which the loader "
            f"'{entry.loader}' needs."
        )
    return architecture
