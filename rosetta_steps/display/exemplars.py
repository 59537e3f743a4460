"""What stands for a concept: one unit of each model, and the images to show them on.

A concept is shown by one generator unit, its representative, and by that unit's strongest buddy in
each model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rosetta_steps.display.heatmaps import scale
from rosetta_steps.runtime.errors import UserError

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


@dataclass(frozen=True)
class Concept:
    """One cluster of Rosetta units, with the units that stand for it.

    Attributes:
        number: Place in the dictionary, 1 the strongest.
        strength: Mean over the models of the representative's strongest correlation.
        generator_unit: The representative: the generator unit of highest strength.
        model_units: Its strongest buddy in each model, in the order of the models.
        correlations: Pearson r of generator_unit with each of model_units.
        members: All rows of the concept in rosetta.csv.
        generator_units: Number of different generator units among the members.
    """

    number: int
    strength: float
    generator_unit: Unit
    model_units: tuple[Unit, ...]
    correlations: tuple[float, ...]
    members: pd.DataFrame
    generator_units: int

    @property
    def units(self) -> tuple[Unit, ...]:
        """The generator unit, then the models' units: the columns of every picture grid."""
        return (self.generator_unit, *self.model_units)


@dataclass(frozen=True)
class Example:
    """One image on which a concept is shown.

    Attributes:
        group: "top", "middle" or "low".
        image: Index of the image in the samples.
        rank: Place among all images by the generator unit's maximum over positions, from 1.
        peak: That maximum on the unit's colour scale, in [0, 1].
    """

    group: str
    image: int
    rank: int
    peak: float


def choose_concepts(table: pd.DataFrame, models: Sequence[str]) -> list[Concept]:
    """Choose the units that stand for each concept.

    The representative is the generator unit whose strongest correlation, averaged over the models,
    is highest; with it goes its strongest buddy in each model. Equal ones: the first in the table.

    Args:
        table: As rosetta.csv.
        models: Names in the order wanted.

    Returns:
        Concepts by number.

    Raises:
        ValueError: No generator unit of a concept has a buddy in every model.
    """
    if table.empty:
        return []
    unit = ["concept", "generator_layer", "generator_channel"]
    best = table.groupby([*unit, "model"], sort=False)["correlation"].idxmax()
    best = best.unstack("model").reindex(columns=list(models))
    # unstack sorts its index; the table's own order decides between equals
    best = best.reindex(pd.MultiIndex.from_frame(table[unit].drop_duplicates())).dropna()
    correlation = table["correlation"].to_numpy()
    rows_of = table.groupby("concept", sort=True).indices
    strength = best.apply(lambda rows: correlation[rows.astype(int)]).mean(axis="columns")
    representative = strength.groupby("concept").idxmax()
    concepts = []
    for number, rows in rows_of.items():
        if number not in representative.index:
            raise UserError(
                f"concept {number}: none of its generator units has a buddy in every one of "
                f"{', '.join(models)}. Give the models that the table was mined with."
            )
        chosen = representative[number]
        buddies = table.iloc[best.loc[chosen].astype(int)]
        members = table.iloc[rows]
        concepts.append(
            Concept(
                number=int(number),
                strength=float(strength[chosen]),
                generator_unit=Unit(members["generator"].iloc[0], chosen[1], int(chosen[2])),
                model_units=tuple(
                    Unit(b.model, b.layer, int(b.channel)) for b in buddies.itertuples()
                ),
                correlations=tuple(map(float, buddies["correlation"])),
                members=members,
                generator_units=len(members[unit].drop_duplicates()),
            )
        )
    return concepts


def choose_examples(
    maxima: np.ndarray,
    unit_range: tuple[float, float],
    *,
    top: int = 3,
    middle: int = 2,
    low: int = 1,
) -> list[Example]:
    """Choose images where a unit responds most, about as much as usual, and least.

    Args:
        maxima: The unit's maximum over positions, (image).
        unit_range: Least and greatest value of the unit over all images.
        top: Number of images of the greatest maxima.
        middle: Number of images around the median.
        low: Number of images of the least maxima.

    Returns:
        Different images by rank; fewer than asked for if there are fewer images.
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
