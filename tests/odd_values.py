"""Values that a config or an entry may not have, drawn from the schemas: kinds, bounds, keys."""

import copy
import datetime
import math
import random
from collections.abc import Iterator

from rosetta_steps.config.schema import read_schema

# What no key takes, whatever its kind.
NEVER = [math.nan, math.inf, -math.inf, datetime.date(2026, 11, 28), b"x", "a\0b", "\ud800", 2**70]
OF_KIND = {
    "integer": [1.5, 2.0, True, "text", "5", "1e3", [1], {}],
    "number": [True, "text", "0.5", "1e-3", [1.0], {}],
    "string": [5, 0.5, True, [], {}, ""],
    "boolean": [1, "yes", []],
    "array": [5, {}, []],
    "object": [5, "text", []],
}


def schema_of(name: str) -> dict:
    """A schema of workflow/schemas."""
    return read_schema(name)


def leaves(schema: dict, place: tuple = ()) -> Iterator[tuple[tuple, dict]]:
    """Place and schema of everything below a schema; "*" stands for a name."""
    for key, inner in schema.get("properties", {}).items():
        yield (*place, key), inner
        yield from leaves(inner, (*place, key))
    inner = schema.get("additionalProperties")
    if isinstance(inner, dict):
        yield (*place, "*"), inner
        yield from leaves(inner, (*place, "*"))


def wrong(schema: dict) -> list:
    """Values that a schema should refuse."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    found = list(NEVER)
    if "enum" in schema:
        found += ["nothing", 5.5, True, []]
    if not kinds:
        return found
    allowed = {type(v) for kind in kinds for v in right_kind(kind)}
    for kind in kinds:
        found += [
            v for v in OF_KIND.get(kind, []) if type(v) not in allowed or not v or kind in NUMBERS
        ]
    if "array" in kinds and not schema.get("minItems"):
        found = [v for v in found if v != []]
    if len(kinds) > 1:  # what one kind refuses, another may take
        found = [v for v in found if type(v) not in allowed or odd(v) or v in ([], "")]
    found += beyond(schema)
    return found


NUMBERS = ("integer", "number")


def right_kind(kind: str) -> list:
    return {
        "integer": [1],
        "number": [1, 1.0],
        "string": ["a"],
        "array": [[1]],
        "object": [{}],
    }.get(kind, [])


def odd(value) -> bool:
    return any(value is one for one in NEVER)


def beyond(schema: dict) -> list:
    """Just beyond the bounds of a schema."""
    found = []
    step = 1 if "integer" in str(schema.get("type")) else 1e-9
    if "minimum" in schema:
        found.append(schema["minimum"] - step)
    if "maximum" in schema:
        found.append(schema["maximum"] * (1 + 1e-9) + step)
    found += [schema[key] for key in ("exclusiveMinimum", "exclusiveMaximum") if key in schema]
    if "integer" in str(schema.get("type")):
        found = [math.floor(v) if v < 1 else math.ceil(v) for v in found]
    return found


def edges(schema: dict) -> list:
    """Values at the bounds of a schema, which it should take."""
    found = [schema[key] for key in ("minimum", "maximum") if key in schema]
    return found + list(schema.get("enum", []))


def changed(value: dict, place: tuple, new) -> dict:
    """A copy of nested mappings with another value at a place, which need not have been there."""
    value = copy.deepcopy(value)
    inner = value
    for key in place[:-1]:
        inner = inner.setdefault(key, {})
    inner[place[-1]] = new
    return value


def drawn(schema: str, names: dict[str, str], number: int, seed: int) -> list[tuple[tuple, object]]:
    """Places and values that should be refused, drawn from all there are.

    Args:
        schema: Name of it.
        names: What "*" stands for below a key.
        number: How many.
        seed: Of the draw.
    """
    found = []
    for place, inner in leaves(schema_of(schema)):
        concrete = named(place, names)
        if concrete is not None:
            found += [(concrete, value) for value in wrong(inner)]
    random.Random(seed).shuffle(found)
    return found[:number]


def named(place: tuple, names: dict[str, str]) -> tuple | None:
    """A place in which names stand for "*"; None where none is known."""
    found: list[str] = []
    for key in place:
        name = names.get(found[-1] if found else "") if key == "*" else key
        if name is None:
            return None
        found.append(name)
    return tuple(found)
