"""Units that are each among the other's K nearest neighbours (eq. 3), and their table."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.matching.nearest import Nearest, nearest
from rosetta_steps.matching.tables import write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.manifests import (
    Provenance,
    ingredients,
    read_manifest,
)


def best_buddies(near_a: Nearest, near_b: Nearest) -> pd.DataFrame:
    """BB(a, b; K) of eq. 3.

    Args:
        near_a: The K nearest units of b of each unit of a.
        near_b: The K nearest units of a of each unit of b.

    Returns:
        unit_a, unit_b, correlation, rank_a (place of b among a's neighbours, from 1), rank_b;
        sorted by unit_a and rank_a.
    """
    ranks = []
    for near, (own, other) in ((near_a, "ab"), (near_b, "ba")):
        units, places = np.nonzero(near.partner >= 0)
        named = {f"unit_{own}": units, f"unit_{other}": near.partner[units, places]}
        named[f"rank_{own}"] = places + 1
        if own == "a":
            named["correlation"] = near.correlation[units, places]
        ranks.append(pd.DataFrame(named))
    pairs = ranks[0].merge(ranks[1], on=["unit_a", "unit_b"])
    pairs = pairs.sort_values(["unit_a", "rank_a"], ignore_index=True)
    return pairs[["unit_a", "unit_b", "correlation", "rank_a", "rank_b"]]


def nearest_both_ways(correlations: xr.Dataset, neighbours: int) -> tuple[Nearest, Nearest]:
    """The K nearest of every unit, from the table or from what was kept of it.

    A model with itself: a unit is left out of its own neighbours before K is counted.

    Raises:
        ValueError: K is not between 1 and the number of units, or of what was kept.
    """
    units = correlations.sizes["unit_a"], correlations.sizes["unit_b"]
    if not 1 <= neighbours <= min(units):
        raise UserError(
            f"K = {neighbours} neighbours of {units[0]} and {units[1]} units: set `neighbours` in "
            "the config to at least 1 and at most the smaller number."
        )
    if "correlation" not in correlations:
        kept = correlations.sizes["neighbour"]
        if neighbours > kept:
            raise UserError(
                f"K = {neighbours} neighbours, and {kept} of each unit were kept. Correlate again "
                f"with --nearest {neighbours}, or keep the table (in the config: neighbours, "
                "correlation.keep)."
            )
        a, b = (
            Nearest(
                correlations[f"partner_{side}"].values[:, :neighbours],
                correlations[f"correlation_{side}"].values[:, :neighbours],
            )
            for side in "ab"
        )
        return a, b
    values = correlations["correlation"].values
    if correlations.attrs["model_a"] == correlations.attrs["model_b"]:
        values = values.copy()
        np.fill_diagonal(values, np.nan)
    return nearest(values, neighbours), nearest(values.T, neighbours)


def table_of(correlations: xr.Dataset, neighbours: int) -> pd.DataFrame:
    """Best buddies of a store of correlations, units named by layer and channel.

    Raises:
        ValueError: As nearest_both_ways.
    """
    pairs = best_buddies(*nearest_both_ways(correlations, neighbours))
    named = {}
    for side in "ab":
        for what in ("layer", "channel"):
            named[f"{what}_{side}"] = correlations[f"{what}_{side}"].values[pairs[f"unit_{side}"]]
    rest = pairs[["correlation", "rank_a", "rank_b"]]
    return pd.concat([pd.DataFrame(named), rest], axis=1)


def write_best_buddies(
    correlations: Path, neighbours: int, output: Path, identity: str | None = None
) -> None:
    """Write the table of best buddies of two models.

    Args:
        correlations: Store of both, as rosetta_steps.correlation writes it.
        neighbours: K.
        output: Table to write.
        identity: As Provenance has it.

    Raises:
        StoreError: The correlations are damaged.
        ValueError: As nearest_both_ways.
    """
    table = table_of(open_dataset(correlations), neighbours)
    state = read_manifest(correlations)
    provenance = Provenance(
        "best buddies",
        state["models"],
        state["sample_set"],
        ingredients([correlations]),
        identity,
    )
    write_table(table, output, provenance)
