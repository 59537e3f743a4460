"""Exemplars of a concept: one unit of each model, and the images on which they are shown.

A concept is represented by one generator unit and by that unit's strongest buddy in each model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from rosetta_steps.display.heatmaps import scale
from rosetta_steps.runtime.errors import UserError

# Models beside each other on a page or in a figure; nobody reads a row of a thousand pictures.
MOST_SHOWN = 12
EMPTY_REASON = (
    "No concepts: no unit of the generator has a best buddy in every model, so there is nothing to "
    "show. Fewer models, a larger K (best buddies are mutual among the K nearest neighbours) or "
    "more images make it likelier that some unit has one."
)


@dataclass(frozen=True)
class Unit:
    """One channel of one layer of one model (the generator is a model too)."""

    model: str
    layer: str
    channel: int


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One cluster of Rosetta units, with the units that represent it.

    Attributes:
        id: Name of the concept's strongest unit of the generator, layer:channel.
        number: Rank in the dictionary; 1 is the strongest concept.
        strength: Mean over the models of generator_unit's strongest correlation.
        generator_unit: The representative, the generator unit of highest strength.
        model_units: Its strongest buddy in each model, in the order of the models.
        correlations: Pearson correlation of generator_unit with each of model_units.
        members: All rows of the concept in rosetta.csv.
        generator_units: Number of different generator units among the members.
    """

    id: str
    number: int
    strength: float
    generator_unit: Unit
    model_units: tuple[Unit, ...]
    correlations: tuple[float, ...]
    members: pd.DataFrame
    generator_units: int

    @property
    def units(self) -> tuple[Unit, ...]:
        """Generator unit and models' units, in the order of the columns of every figure."""
        return (self.generator_unit, *self.model_units)

    @cached_property
    def rows(self) -> list[Any]:
        """Rows of the members, with their columns as attributes."""
        return list(self.members.itertuples(index=False))

    def of_models(self, places: Sequence[int]) -> "Concept":
        """Return the concept with the units of some models only, by their places in model_units."""
        return replace(
            self,
            model_units=tuple(self.model_units[place] for place in places),
            correlations=tuple(self.correlations[place] for place in places),
        )


@dataclass(frozen=True)
class Example:
    """One image on which a concept is shown.

    Attributes:
        group: "top", "middle" or "low" responses.
        image: Index of the image in the samples.
        rank: Rank of the image, from 1, by the generator unit's maximum over positions.
        peak: That maximum on the unit's colour scale, in [0, 1].
    """

    group: str
    image: int
    rank: int
    peak: float


def choose_concepts(table: pd.DataFrame, models: Sequence[str]) -> list[Concept]:
    """Choose the units that represent each concept.

    The representative is the generator unit with the highest mean over models of its strongest
    correlation. It is shown with its strongest buddy in each model. Of equal units the first in the
    table is chosen.

    Args:
        table: Rows of rosetta.csv.
        models: Names of the models, in the order of the result.

    Returns:
        Concepts in order of their numbers.

    Raises:
        ValueError: No generator unit of a concept has a buddy in every model.
    """
    if table.empty:
        return []
    unit = ["concept", "generator_layer", "generator_channel"]
    best = table.groupby([*unit, "model"], sort=False)["correlation"].idxmax()
    best = best.unstack("model").reindex(columns=list(models))
    # unstack sorts its index, but ties are decided by the order of the table
    best = best.reindex(pd.MultiIndex.from_frame(table[unit].drop_duplicates())).dropna()
    correlation = table["correlation"].to_numpy()
    rows_of = table.groupby("concept", sort=True).indices
    strength = best.apply(lambda rows: correlation[rows.astype(int)]).mean(axis="columns")
    representative = strength.groupby("concept").idxmax()
    units_of = table[unit].drop_duplicates()["concept"].value_counts()
    # Looked up in dicts and lists: a look-up in a table takes as long as a thousand of these.
    rows_of_unit = dict(zip(best.index, best.to_numpy(int).tolist(), strict=True))
    unit_of_row = list(
        map(Unit, table["model"].tolist(), table["layer"].tolist(), table["channel"].tolist())
    )
    concepts = []
    for number, rows in rows_of.items():
        if number not in representative.index:
            raise UserError(
                f"concept {number}: none of its generator units has a buddy in every one of "
                f"{', '.join(models)}. Give the models that the table was mined with."
            )
        chosen = representative[number]
        buddies = rows_of_unit[chosen]
        members = table.iloc[rows]
        concepts.append(
            Concept(
                id=members["concept_id"].iloc[0],
                number=int(number),
                strength=float(strength[chosen]),
                generator_unit=Unit(members["generator"].iloc[0], chosen[1], int(chosen[2])),
                model_units=tuple(unit_of_row[row] for row in buddies),
                correlations=tuple(map(float, correlation[buddies])),
                members=members,
                generator_units=int(units_of[number]),
            )
        )
    return concepts


def shown_models(concepts: Sequence[Concept], models: Sequence[str]) -> list[str]:
    """Choose the models whose units are drawn: all, or of many those that match best.

    Args:
        concepts: Concepts of a dictionary, with a unit of each model.
        models: Names of the models, in the order of the concepts' units.

    Returns:
        At most MOST_SHOWN names in the order of `models`: those with the highest mean correlation
        over the concepts.
    """
    if len(models) <= MOST_SHOWN:
        return list(models)
    if not concepts:
        return list(models[:MOST_SHOWN])
    mean = np.mean([concept.correlations for concept in concepts], axis=0)
    best = np.argsort(-mean, kind="stable")[:MOST_SHOWN]
    return [models[place] for place in sorted(best)]


def choose_examples(
    maxima: np.ndarray,
    unit_range: tuple[float, float],
    *,
    top: int = 3,
    middle: int = 2,
    low: int = 1,
) -> list[Example]:
    """Choose images on which a unit responds most, around its median, and least.

    Args:
        maxima: Maximum of the unit over positions, (image).
        unit_range: Minimum and maximum of the unit over all images.
        top: Number of images with the largest maxima.
        middle: Number of images around the median.
        low: Number of images with the smallest maxima.

    Returns:
        Distinct images in order of rank; fewer than requested if there are fewer images.
    """
    order = np.argsort(-maxima, kind="stable")  # equal maxima: the earlier image first
    count = len(order)
    centre = max((count - middle) // 2, 0)
    places = (
        [("top", place) for place in range(top)]
        + [("low", place) for place in range(count - low, count)]
        + [("middle", place) for place in range(centre, centre + middle)]
    )
    peaks = scale(maxima, unit_range)
    group_of: dict[int, str] = {}
    for group, place in places:
        if 0 <= place < count:
            group_of.setdefault(place, group)
    return [
        Example(group_of[place], int(order[place]), place + 1, float(peaks[order[place]]))
        for place in sorted(group_of)
    ]
