"""What a concept is called: after its strongest unit of the generator, layer:channel.

Its rank changes with every model that joins the zoo; this unit seldom does (`compare`). A unit
belongs to one concept at most, so that the name of a concept that was merged or split leads to
where its unit is now.
"""

from collections.abc import Sequence

import pandas as pd

from rosetta_steps.config.names import refusal_of_rank
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entries import suggestion

NEAREST = 3  # ids that a message names where one is not known


def unit_name(layer: str, channel: int) -> str:
    """Return the name of a unit, such as main.2:17."""
    return f"{layer}:{channel}"


def concept_ids(table: pd.DataFrame) -> pd.Series:
    """Return the id of each row's concept.

    Args:
        table: Rows of a dictionary: of a concept, those of its strongest unit come first.
    """
    first = table.groupby("concept")[["generator_layer", "generator_channel"]].transform("first")
    return pd.Series(map(unit_name, first.iloc[:, 0], first.iloc[:, 1]), table.index, dtype=object)


def rows_of_concepts(concepts: Sequence[str], table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of some concepts, in the order of the table.

    Args:
        concepts: Their ids.
        table: As rosetta.csv.

    Raises:
        ValueError: The table has no such concept; the message has the id that is meant, if a rank
            was given or the concept was merged into another, or the nearest.
    """
    for concept in concepts:
        refuse_unknown_concept(concept, table)
    return table[table["concept_id"].isin(concepts)]


def refuse_unknown_concept(concept: str, table: pd.DataFrame) -> None:
    """Refuse what is not the id of a concept.

    Raises:
        ValueError: As rows_of_concepts has it.
    """
    if table.empty:
        raise UserError("the dictionary has no concepts.")
    if (table["concept_id"] == concept).any():
        return
    if concept.isdigit():
        of_rank = table[table["concept"].astype(str) == concept]["concept_id"]
        raise UserError(refusal_of_rank(concept, next(iter(of_rank), None)))
    layer, _, channel = concept.rpartition(":")
    of_unit = table[
        (table["generator_layer"] == layer) & (table["generator_channel"].astype(str) == channel)
    ]
    if len(of_unit):
        now = of_unit["concept_id"].iloc[0]
        units = table[table["concept_id"] == now][["generator_layer", "generator_channel"]]
        raise UserError(
            f"no concept {concept} in this dictionary: its unit is one of "
            f"{len(units.drop_duplicates())} of concept {now}. Write {now} for all of these, or "
            f"name units."
        )
    known = list(dict.fromkeys(table["concept_id"]))
    of_layer = [one for one in known if one.rpartition(":")[0] == layer and channel.isdigit()]
    near = sorted(of_layer, key=lambda one: abs(int(one.rpartition(":")[2]) - int(channel)))
    raise UserError(
        f"no concept {concept} in this dictionary, and no unit of that name in any. "
        + (f"The nearest: {', '.join(near[:NEAREST])}." if near else suggestion(concept, known))
    )
