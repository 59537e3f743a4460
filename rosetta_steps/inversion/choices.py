"""Which of a generator's units are meant: by layer and channel, by concept, or all matched ones."""

from collections.abc import Mapping, Sequence

import pandas as pd

from rosetta_steps.matching.identity import rows_of_concepts, unit_name
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entries import suggestion

UNIT = ["layer", "channel"]


def units_of_matches(matches: pd.DataFrame) -> pd.DataFrame:
    """The generator's units of matches or of a dictionary, each once: layer, channel."""
    units = matches[["generator_layer", "generator_channel"]].drop_duplicates(ignore_index=True)
    return units.set_axis(UNIT, axis=1)


def names_of(units: pd.DataFrame) -> list[str]:
    """Names of units, such as main.2:17."""
    return [unit_name(one.layer, one.channel) for one in units.itertuples()]


def units_named(names: Sequence[str], channels: Mapping[str, int]) -> pd.DataFrame:
    """Units by their names, layer:channel.

    Args:
        names: Such as main.2:17.
        channels: How many each layer of the generator has, of the mined layers.

    Raises:
        ValueError: A name is none, or there is no such layer or channel.
    """
    found = []
    for name in dict.fromkeys(names):
        layer, _, channel = name.rpartition(":")
        if not layer or not channel.isdigit():
            raise UserError(f"'{name}' names no unit: write layer:channel, such as main.2:17.")
        if layer not in channels:
            raise UserError(
                f"unit {name}: no layer {layer} was mined. {suggestion(layer, list(channels))}"
            )
        if int(channel) >= channels[layer]:
            raise UserError(
                f"unit {name}: {layer} has channels 0 to {channels[layer] - 1}; the nearest is "
                f"{layer}:{channels[layer] - 1}."
            )
        found.append((layer, int(channel)))
    return pd.DataFrame(found, columns=UNIT)


def units_of_concepts(concepts: Sequence[str], table: pd.DataFrame, generator: str) -> pd.DataFrame:
    """The generator's units of some concepts, strongest first.

    Args:
        concepts: Their ids, such as main.2:17.
        table: As rosetta.csv.
        generator: Whose units these must be.

    Raises:
        ValueError: The table is another generator's, or has no such concept.
    """
    if others := set(table["generator"]) - {generator}:
        raise UserError(f"the concepts are those of {', '.join(others)}, not of {generator}.")
    return units_of_matches(rows_of_concepts(concepts, table))
