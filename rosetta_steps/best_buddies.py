"""Best buddies: pairs of units that are each among the other's K nearest neighbours (eq. 3)."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.errors import run
from rosetta_steps.stores import check_dataset, write_table


def nearest(correlation: np.ndarray, neighbours: int) -> np.ndarray:
    """The K most correlated columns of each row, the nearest first, equals by position.

    Args:
        correlation: (row, column), NaN where there is none.
        neighbours: K.

    Returns:
        (row, K) columns; -1 where a row has fewer.
    """
    distance = np.where(np.isnan(correlation), np.inf, -correlation)
    order = np.argsort(distance, axis=1, kind="stable")[:, :neighbours]
    return np.where(np.isinf(np.take_along_axis(distance, order, 1)), -1, order)


def best_buddies(correlation: np.ndarray, neighbours: int) -> pd.DataFrame:
    """BB(a, b; K) of eq. 3.

    Args:
        correlation: (unit_a, unit_b), NaN where a unit never varies.
        neighbours: K, in both directions.

    Returns:
        unit_a, unit_b, correlation, rank_a (place of b among a's neighbours, from 1), rank_b;
        sorted by unit_a and rank_a.

    Raises:
        ValueError: K is not between 1 and the number of units.
    """
    if not 1 <= neighbours <= min(correlation.shape):
        raise ValueError(
            f"K = {neighbours} neighbours of {correlation.shape[0]} and {correlation.shape[1]} "
            "units: set `neighbours` in the config to at least 1 and at most the smaller number."
        )
    ranks = []
    for table, (row, column) in ((correlation, "ab"), (correlation.T, "ba")):
        found = nearest(table, neighbours)
        rows, places = np.nonzero(found >= 0)
        columns = found[rows, places]
        ranks.append(
            pd.DataFrame(
                {f"unit_{row}": rows, f"unit_{column}": columns, f"rank_{row}": places + 1}
            )
        )
    pairs = ranks[0].merge(ranks[1], on=["unit_a", "unit_b"])
    pairs["correlation"] = correlation[pairs["unit_a"], pairs["unit_b"]]
    pairs = pairs.sort_values(["unit_a", "rank_a"], ignore_index=True)
    return pairs[["unit_a", "unit_b", "correlation", "rank_a", "rank_b"]]


def table_of(correlations: xr.Dataset, neighbours: int) -> pd.DataFrame:
    """Best buddies of a store of correlations, units named by layer and channel.

    A model with itself: a unit is left out of its own neighbours before K is counted.
    """
    values = correlations["correlation"].values
    if correlations.attrs["model_a"] == correlations.attrs["model_b"]:
        values = values.copy()
        np.fill_diagonal(values, np.nan)
    pairs = best_buddies(values, neighbours)
    named = {}
    for side in "ab":
        for what in ("layer", "channel"):
            named[f"{what}_{side}"] = correlations[f"{what}_{side}"].values[pairs[f"unit_{side}"]]
    rest = pairs[["correlation", "rank_a", "rank_b"]]
    return pd.concat([pd.DataFrame(named), rest], axis=1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Best buddies of two models.")
    parser.add_argument("--correlations", type=Path, required=True, help="X.zarr to read")
    parser.add_argument("--neighbours", type=int, default=5, help="K, default %(default)s")
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    a = parser.parse_args()
    write_table(table_of(xr.open_zarr(check_dataset(a.correlations)), a.neighbours), a.output)


if __name__ == "__main__":
    run(main)
