"""Validation of config files and zoo entries against the JSON schemas in workflow/schemas."""

import difflib
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import jsonschema

from rosetta_steps.config.places import Origins
from rosetta_steps.config.yaml_files import read_yaml
from rosetta_steps.runtime.errors import UserError

SCHEMAS = Path(__file__).resolve().parents[2] / "workflow" / "schemas"
# Generated from the settings of the steps by rosetta_steps.workflow.schemas.
SETTINGS = SCHEMAS / "settings.schema.yaml"
# What follows from the table of loaders, written by the same command.
LOADERS = SCHEMAS / "loaders.schema.yaml"
# Keys by the names that they had before version 0.2.
RENAMED = {
    "least_correlation": "min_correlation",
    "towards": "regularise_to",
    "guided": "guidance_fraction",
    "keep": "store",
}
LARGEST = 2**63 - 1  # of an integer that fits an int64 array
NUMBER_IN_TEXT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
LONGEST_SHOWN = 80


def check(value, schema: str, source: str | Origins) -> None:
    """Validate the content of a file against workflow/schemas/{schema}.schema.yaml.

    Args:
        value: Parsed content of the file.
        schema: Name of the schema, such as "config" or "models".
        source: Name of the file, or the sources of a merged config, for errors.

    Raises:
        ValueError: A key is unknown; or a value has the wrong type, is out of range or can be no
            setting (a number that is not finite, a date, a control character). The message names
            file, place and remedy.
    """
    refuse_odd_values(value, source)
    error = jsonschema.exceptions.best_match(_validator(schema).iter_errors(value))
    if error is None:
        return
    while error.parent is not None:  # which alternative was meant is unknown
        error = error.parent
    place = tuple(error.absolute_path)
    message, expected = _shortened(error), None
    if isinstance(error.schema, dict):
        expected = error.schema.get("description")
    if error.validator == "oneOf":
        message, expected = _not_one_of(error), None
    elif error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        place_of_key = (*place, unknown[0])
        message = f"unknown key {quoted(unknown)}. " + _new_name(str(unknown[0]), known)
        raise refused(source, place, message, expected, origin=place_of_key)
    elif error.validator == "type":
        message += _remedy_for_type(error, source, place)
    raise refused(source, place, message, expected)


def _new_name(unknown: str, known: list[str]) -> str:
    if RENAMED.get(unknown) in known:
        return f"Since version 0.2 it is called {RENAMED[unknown]}."
    return suggestion(unknown, known)


def refused(
    source: str | Origins, place, message: str, expected: str | None = None, *, origin=None
) -> ValueError:
    """Return the error that names the file, the place, the fault and what was expected.

    Args:
        source: Name of the file, or the sources of a merged config.
        place: Keys and list indices that lead from the top level to the value.
        message: Description of the fault.
        expected: Description of the key in the schema.
        origin: Place whose source is named as the file; `place` if None.
    """
    file = source
    if isinstance(source, Origins):
        file = source.of(tuple(place if origin is None else origin))
    return UserError(
        f"{file}, at {dotted(place)}: {message}" + (f" ({expected})" if expected else "")
    )


def dotted(place) -> str:
    """Return a place as dotted text."""
    return shortened(".".join(str(part) for part in place)) or "top level"


def shortened(text: str) -> str:
    """Return a text on one line, with the middle left out if it is long."""
    line = text.encode("unicode_escape").decode() if not text.isprintable() else text
    if len(line) <= LONGEST_SHOWN:
        return line
    return f"{line[: LONGEST_SHOWN - 25]}...{line[-20:]}"


def quoted(names) -> str:
    """Return names in quotes, separated by commas."""
    return ", ".join(f"'{shortened(str(name))}'" for name in names)


def suggestion(name: str, choices: list[str]) -> str:
    """Return a sentence that names the most similar choice, or all choices if none is similar."""
    near = difflib.get_close_matches(name, choices, n=1)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Choices: {', '.join(choices)}."


def refuse_odd_values(value, source: str | Origins) -> None:
    """Refuse values that can be no setting, at any depth.

    Raises:
        ValueError: There is a number that is not finite or exceeds 64 bits, a date, bytes, a text
            with a control character or invalid Unicode, or a key that is no text.
    """
    for place, one in _leaves(value, ()):
        if problem := _oddness(one):
            raise refused(source, place, problem)


def leaves(value) -> Iterator[tuple[tuple, object]]:
    """Yield the place and value of every leaf of nested mappings and lists."""
    return ((place, one) for place, one in _leaves(value, ()) if not isinstance(one, _Key))


def _leaves(value, place: tuple) -> Iterator[tuple[tuple, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield place, _Key(key)
            elif _oddness(key):
                yield place, key
            yield from _leaves(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*place, index))
    else:
        yield place, value


class _Key:
    def __init__(self, key):
        self.key = key


def _oddness(value) -> str | None:
    if isinstance(value, _Key):
        key = str(value.key)
        return (
            f"the name {shortened(key)} is a {_kind(value.key)} for YAML, and a name is text: put a"
            f" number in quotes ('{shortened(key)}')."
        )
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        if not value.isprintable() and any(ord(c) < 32 or ord(c) == 127 for c in value):
            return f"the text '{shortened(value)}' holds a control character. Write it without."
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"the text {ascii(value)} is no Unicode. Write it anew."
        return None
    if isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            return f"{value} is not finite. Write a number."
        if abs(value) > LARGEST and isinstance(value, int):
            shown = str(value) if value.bit_length() < 200 else f"of {value.bit_length()} bits"
            return f"the integer {shown} is too large. Write one below 2^63."
        return None
    return f"{shortened(str(value))} is a {_kind(value)} for YAML. Put it in quotes."


def _kind(value) -> str:
    names = {int: "number", float: "number", bool: "truth value", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


@lru_cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    def is_integer(_, value) -> bool:
        # 2.0 is no integer here, because the step would refuse it in its job.
        return isinstance(value, int) and not isinstance(value, bool)

    base = jsonschema.Draft202012Validator
    checker = base.TYPE_CHECKER.redefine("integer", is_integer)
    kind = jsonschema.validators.extend(base, type_checker=checker)
    return kind(read_schema(schema))


def read_schema(name: str) -> dict:
    """Read a schema of workflow/schemas, and merge the part of it that is generated.

    That of the config has the settings of steps, that of the zoo its loaders.

    Args:
        name: "config", "models" or "pictures".
    """
    schema = read_yaml(SCHEMAS / f"{name}.schema.yaml")
    if name == "config":
        return _with_settings(schema)
    return _with_loaders(schema) if name == "models" else schema


def _with_loaders(schema: dict) -> dict:
    generated, entry = read_yaml(LOADERS), schema["additionalProperties"]
    entry["properties"]["loader"] = generated["loader"] | entry["properties"]["loader"]
    entry["allOf"] = generated["allOf"]
    return schema | {"$defs": generated["$defs"]}


def _with_settings(schema: dict) -> dict:
    sections = schema["properties"]
    generated = read_yaml(SETTINGS)
    of_edits = generated.pop("edits")["properties"]
    sections["edits"]["additionalProperties"]["properties"] |= of_edits
    for section, settings in generated.items():
        own = sections[section]
        own["properties"] = settings["properties"] | own.get("properties", {})
        own["required"] = settings["required"] + own.get("required", [])
    # Each inversion may override the settings of the section `inversion`.
    one = sections["inversions"]["additionalProperties"]
    one["properties"] |= sections["inversion"]["properties"]
    return schema


def _shortened(error: jsonschema.ValidationError) -> str:
    # jsonschema's own messages quote the whole value, however long it is.
    if error.validator == "pattern":
        return f"'{shortened(str(error.instance))}' is not written as expected"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"'{missing}' is a required property and missing"
    shown = repr(error.instance)
    return error.message.replace(shown, shortened(shown))


def _remedy_for_type(error: jsonschema.ValidationError, source: str | Origins, place) -> str:
    value, wanted = error.instance, error.validator_value
    wanted = wanted if isinstance(wanted, list) else [wanted]
    numbers = {"integer", "number"} & set(wanted)
    if isinstance(value, str) and numbers and NUMBER_IN_TEXT.match(value):
        if isinstance(source, Origins) and source.is_text_only(place):
            # Snakemake passes values within braces on its command line as text.
            return (
                ". Within --config key={...} every value is a text: give it in a file "
                "(--configfile)"
            )
        if "e" in value.lower():
            return f". For YAML it is a text: write {float(value)!r}, or with a point and a sign"
        return f". It is a text: write {value} without quotes"
    if isinstance(value, float) and value.is_integer() and "integer" in wanted:
        return f". Write {int(value)}"
    if value is None:
        return ". Give a value, or leave the key out"
    if "string" in wanted and isinstance(value, float):  # YAML has read 1.10 as 1.1
        return ". Put it in quotes, as it is written"
    if "string" in wanted and not isinstance(value, dict | list):
        return f". Put it in quotes: '{_as_written(value)}'"
    return ""


def _as_written(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _not_one_of(error: jsonschema.ValidationError) -> str:
    # Alternatives in our schemas are lists of required keys.
    alternatives = [one["required"] for one in error.validator_value]
    choices = ", ".join(" + ".join(f"'{key}'" for key in keys) for keys in alternatives)
    given = dict.fromkeys(key for keys in alternatives for key in keys if key in error.instance)
    found = f"it gives {quoted(given)}" if given else "it gives none"
    return f"{found}; give exactly one source of: {choices}"
