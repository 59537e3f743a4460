"""Settings of a step, said once: a dataclass whose fields are options, schema and attributes.

    @dataclass(frozen=True)
    class Clustering:
        method: str = setting("average", "how units become concepts", choices=METHODS)

From it follow the options of a command line (`add_options`, `options_from`), the words of a rule
(`words`), the part of the schema of a config (`schema_of`) and the check of its values (`check`).
"""

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field, field, fields
from typing import Any

from rosetta_steps.runtime.errors import UserError

KINDS = {int: "integer", float: "number", str: "string"}


def setting(
    default: Any,
    words: str,
    *,
    choices: Sequence[str] | None = None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    pattern: str | None = None,
    config: bool = True,
):
    """A field of a dataclass of settings.

    Args:
        default: Its value where none is given.
        words: What it is, with its unit, for help texts, the schema and the documentation.
        choices: Of a text.
        least: Smallest value of a number.
        above: A number must be larger than this.
        most: Largest value of a number.
        pattern: Regular expression that a text matches.
        config: Whether a config says it; else only a command line.
    """
    bounds = {"choices": choices, "least": least, "above": above, "most": most, "pattern": pattern}
    return field(default=default, metadata={"help": words, "config": config} | bounds)


def check(settings: Any) -> None:
    """Hold settings against their choices and bounds; call it in `__post_init__`.

    Args:
        settings: A dataclass of `setting` fields.

    Raises:
        ValueError: Name, value and what it may be.
    """
    for one in fields(settings):
        value, known = getattr(settings, one.name), one.metadata
        if known["choices"] and value not in known["choices"]:
            raise UserError(f"{one.name}: '{value}' is none of {', '.join(known['choices'])}.")
        if one.type not in (int, float):
            continue
        too_small = known["least"] is not None and value < known["least"]
        too_small |= known["above"] is not None and value <= known["above"]
        too_large = known["most"] is not None and value > known["most"]
        if too_small or too_large or not math.isfinite(value):
            raise UserError(f"{one.name}: {value} must be {bounds_in_words(one)}.")


def bounds_in_words(one: Field) -> str:
    """What a number may be, such as "above 0 and at most 1"."""
    known = one.metadata
    words = [
        f"{name} {known[key]:g}"
        for key, name in (("least", "at least"), ("above", "above"), ("most", "at most"))
        if known[key] is not None
    ]
    return " and ".join(words) if words else "finite"


def add_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    kind: type,
    names: Sequence[str] | None = None,
    **defaults,
) -> None:
    """Add settings of a dataclass to a command line.

    Args:
        parser: Or a group of one.
        kind: The dataclass.
        names: Which of them; None: all.
        defaults: Other defaults for some; None is for the step to fill in, which its help says.
    """
    for one in fields(kind):
        if names is not None and one.name not in names:
            continue
        default = defaults.get(one.name, one.default)
        known = "see above" if default is None else "%(default)s"
        parser.add_argument(
            option_of(one.name),
            type=one.type,
            default=default,
            choices=one.metadata["choices"],
            help=f"{one.metadata['help']}, default {known}",
        )


def options_from(arguments: argparse.Namespace, kind: type) -> Any:
    """Settings of a command line.

    Raises:
        ValueError: As `check`, where the dataclass calls it.
    """
    return kind(**{one.name: getattr(arguments, one.name) for one in fields(kind)})


def option_of(name: str) -> str:
    """The option of a setting: --learning-rate."""
    return f"--{name.replace('_', '-')}"


def names_in_config(kind: type) -> list[str]:
    """Names of the settings that a config says."""
    return [one.name for one in fields(kind) if one.metadata["config"]]


def schema_of(kind: type, optional: Iterable[str] = ()) -> dict:
    """The part of a config's schema that says what settings may be.

    Args:
        kind: The dataclass.
        optional: Settings that a config may leave out; one without a default may not.
    """
    named = names_in_config(kind)
    return {
        "required": [name for name in named if name not in set(optional)],
        "properties": {
            one.name: property_of(one) for one in fields(kind) if one.metadata["config"]
        },
    }


def property_of(one: Field) -> dict:
    """What a schema says of one setting."""
    known = one.metadata
    if one.default is MISSING:
        raise TypeError(f"{one.name} has no default.")
    if known["choices"]:
        return {"enum": list(known["choices"]), "description": known["help"]}
    bounds = {
        "minimum": known["least"],
        "exclusiveMinimum": known["above"],
        "maximum": known["most"],
        "pattern": known["pattern"],
    }
    if one.type is str and not known["pattern"]:
        bounds["minLength"] = 1
    said = {key: value for key, value in bounds.items() if value is not None}
    # No module with settings has its annotations as text.
    assert isinstance(one.type, type), f"{one.name} has no plain type"
    return {"type": KINDS[one.type], **said, "description": known["help"]}
