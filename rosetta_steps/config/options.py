"""Settings of a step, declared once as the fields of a dataclass.

    @dataclass(frozen=True)
    class Clustering:
        method: str = setting("average", "how units become concepts", choices=METHODS)

From the dataclass follow the options of a command line (`add_options`, `options_from`), its part of
the config's schema (`schema_of`) and the validation of its values (`check`).
"""

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field, field, fields
from typing import Any

from rosetta_steps.runtime.errors import UserError

KINDS = {int: "integer", float: "number", str: "string", bool: "boolean"}


def setting(
    default: Any,
    description: str,
    *,
    choices: Sequence[str] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    pattern: str | None = None,
    config: bool = True,
):
    """Declare one setting as a dataclass field.

    Args:
        default: Value of the setting if none is given.
        description: Description with unit, for help texts, the schema and the documentation.
        choices: Allowed values of a text setting.
        minimum: Minimum of a number, inclusive.
        above: Minimum of a number, exclusive.
        maximum: Maximum of a number, inclusive.
        pattern: Regular expression that a text setting must match.
        config: Whether a config file may set it; otherwise only the command line does.
    """
    metadata = {
        "description": description,
        "choices": choices,
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "pattern": pattern,
        "config": config,
    }
    return field(default=default, metadata=metadata)


def check(settings: Any) -> None:
    """Validate settings against their choices and bounds; call it in `__post_init__`.

    Args:
        settings: Instance of a dataclass of `setting` fields.

    Raises:
        ValueError: A value is none of its choices or out of its bounds.
    """
    for one in fields(settings):
        value, known = getattr(settings, one.name), one.metadata
        if known["choices"] and value not in known["choices"]:
            raise UserError(f"{one.name}: '{value}' is none of {', '.join(known['choices'])}.")
        if one.type not in (int, float):
            continue
        too_small = known["minimum"] is not None and value < known["minimum"]
        too_small |= known["above"] is not None and value <= known["above"]
        too_large = known["maximum"] is not None and value > known["maximum"]
        if too_small or too_large or not math.isfinite(value):
            raise UserError(f"{one.name}: {value} must be {bounds_in_words(one)}.")


def bounds_in_words(one: Field) -> str:
    """Return the bounds of a number in words, such as "above 0 and at most 1"."""
    known = one.metadata
    words = [
        f"{name} {known[key]:g}"
        for key, name in (("minimum", "at least"), ("above", "above"), ("maximum", "at most"))
        if known[key] is not None
    ]
    return " and ".join(words) if words else "finite"


def add_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    kind: type,
    names: Sequence[str] | None = None,
    **defaults,
) -> None:
    """Add the settings of a dataclass to a command line as options.

    Args:
        parser: Parser, or a group of one.
        kind: Dataclass of settings.
        names: Names of the settings to add; None adds all.
        defaults: Defaults that replace those of the dataclass. With None, the step computes the
            default, and the help text refers to its description.
    """
    for one in fields(kind):
        if names is not None and one.name not in names:
            continue
        default = defaults.get(one.name, one.default)
        known = "see above" if default is None else "%(default)s"
        # `bool` as a type would take any text for true.
        switch: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        value: dict[str, Any] = {"type": one.type, "choices": one.metadata["choices"]}
        parser.add_argument(
            option_of(one.name),
            **(switch if one.type is bool else value),
            default=default,
            help=f"{one.metadata['description']}, default {known}",
        )


def options_from(arguments: argparse.Namespace, kind: type) -> Any:
    """Build the dataclass of settings from parsed options.

    Raises:
        ValueError: A value is not allowed, if the dataclass calls `check`.
    """
    return kind(**{one.name: getattr(arguments, one.name) for one in fields(kind)})


def option_of(name: str) -> str:
    """Return the command line option of a setting, such as --learning-rate for learning_rate."""
    return f"--{name.replace('_', '-')}"


def names_in_config(kind: type) -> list[str]:
    """Return the names of the settings that a config file may set."""
    return [one.name for one in fields(kind) if one.metadata["config"]]


def schema_of(kind: type, optional: Iterable[str] = ()) -> dict:
    """Return the part of the config's JSON schema that describes the settings of a dataclass.

    Args:
        kind: Dataclass of settings.
        optional: Names of settings that a config may leave out.
    """
    named = names_in_config(kind)
    return {
        "required": [name for name in named if name not in set(optional)],
        "properties": {
            one.name: property_of(one) for one in fields(kind) if one.metadata["config"]
        },
    }


def property_of(one: Field) -> dict:
    """Return the JSON schema of one setting.

    Raises:
        TypeError: The setting has no default.
    """
    known = one.metadata
    if one.default is MISSING:
        raise TypeError(f"{one.name} has no default.")
    if known["choices"]:
        return {"enum": list(known["choices"]), "description": known["description"]}
    bounds = {
        "minimum": known["minimum"],
        "exclusiveMinimum": known["above"],
        "maximum": known["maximum"],
        "pattern": known["pattern"],
    }
    if one.type is str and not known["pattern"]:
        bounds["minLength"] = 1
    said = {key: value for key, value in bounds.items() if value is not None}
    # Modules with settings do not use `from __future__ import annotations`, so types are no text.
    assert isinstance(one.type, type), f"{one.name} has no plain type"
    return {"type": KINDS[one.type], **said, "description": known["description"]}
