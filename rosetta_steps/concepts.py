"""Rosetta units of a generator over a zoo (eq. 4), clustered into concepts (section 3.2)."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rosetta_steps.errors import run
from rosetta_steps.stores import write_table

COLUMNS = [
    "concept", "generator", "generator_layer", "generator_channel",
    "model", "layer", "channel", "correlation",
]  # fmt: skip
UNIT = ["generator_layer", "generator_channel"]


def rosetta_units(buddies: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Eq. 4 as a grouped table: generator units with a buddy in every model, and their buddies.

    Args:
        buddies: Model to its best buddies with the generator (the generator is a).

    Returns:
        generator_layer, generator_channel, model, layer, channel, correlation.
    """
    renamed = {
        "layer_a": "generator_layer",
        "channel_a": "generator_channel",
        "layer_b": "layer",
        "channel_b": "channel",
    }
    table = pd.concat(
        [pairs.rename(columns=renamed).assign(model=model) for model, pairs in buddies.items()]
    )
    models = table.groupby(UNIT)["model"].transform("nunique")
    return table[models == len(buddies)][COLUMNS[2:]].reset_index(drop=True)


def clusters(units: pd.DataFrame, selves: pd.DataFrame) -> np.ndarray:
    """Connected components of Rosetta units under BB(G, G; K).

    Args:
        units: generator_layer, generator_channel, one row a unit.
        selves: Best buddies of the generator with itself.

    Returns:
        Number of the component of each unit.
    """
    index = {unit: i for i, unit in enumerate(units.itertuples(index=False, name=None))}
    a = [index.get(u) for u in zip(selves["layer_a"], selves["channel_a"], strict=True)]
    b = [index.get(u) for u in zip(selves["layer_b"], selves["channel_b"], strict=True)]
    edges = np.array(
        [(i, j) for i, j in zip(a, b, strict=True) if i is not None and j is not None], int
    ).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(len(index), len(index)))
    return connected_components(graph, directed=False)[1]


def dictionary(
    generator: str, buddies: dict[str, pd.DataFrame], selves: pd.DataFrame
) -> pd.DataFrame:
    """The dictionary: concepts in order of strength, with all their units.

    A unit is as strong as the mean over models of its strongest correlation, a concept as strong
    as its strongest unit.
    """
    table = rosetta_units(buddies)
    if table.empty:
        return pd.DataFrame(columns=COLUMNS)
    units = table[UNIT].drop_duplicates(ignore_index=True)
    units["cluster"] = clusters(units, selves)
    best = table.groupby([*UNIT, "model"])["correlation"].max().groupby(UNIT).mean()
    units = units.merge(best.rename("strength").reset_index(), on=UNIT)
    order = units.groupby("cluster")["strength"].max().sort_values(ascending=False, kind="stable")
    units["concept"] = units["cluster"].map({c: i + 1 for i, c in enumerate(order.index)})
    table = table.merge(units, on=UNIT).assign(generator=generator)
    table = table.sort_values(
        ["concept", "strength", *UNIT, "model", "correlation", "layer", "channel"],
        ascending=[True, False, True, True, True, False, True, True],
    )
    return table[COLUMNS].reset_index(drop=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Rosetta units and concepts of a zoo.")
    parser.add_argument("--generator", required=True)
    parser.add_argument("--models", nargs="+", required=True, help="in the order of --buddies")
    parser.add_argument("--buddies", nargs="+", type=Path, required=True)
    parser.add_argument("--self-buddies", type=Path, required=True, help="generator with itself")
    parser.add_argument("--output", type=Path, required=True, help="rosetta.csv to write")
    a = parser.parse_args()
    buddies = {m: pd.read_csv(p) for m, p in zip(a.models, a.buddies, strict=True)}
    write_table(dictionary(a.generator, buddies, pd.read_csv(a.self_buddies)), a.output)


if __name__ == "__main__":
    run(main)
