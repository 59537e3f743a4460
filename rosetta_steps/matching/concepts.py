"""Rosetta units (eq. 4), and the dictionary of concepts that they make (section 3.2)."""

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd

from rosetta_steps.config.options import options_from
from rosetta_steps.matching.clustering import clustering
from rosetta_steps.matching.identity import concept_ids
from rosetta_steps.matching.settings import Clustering
from rosetta_steps.matching.tables import DICTIONARY, read_best_buddies, write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.manifests import (
    Provenance,
    ingredients,
    read_manifest,
    refuse_other_models,
)

COLUMNS = list(DICTIONARY)
UNIT = ["generator_layer", "generator_channel"]
PARTNER = ["model", "layer", "channel", "correlation"]


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
    return table[models == len(buddies)][[*UNIT, *PARTNER]].reset_index(drop=True)


def dictionary(
    generator: str,
    buddies: dict[str, pd.DataFrame],
    clusters: Callable[[pd.DataFrame], np.ndarray],
) -> pd.DataFrame:
    """The dictionary: concepts in order of strength, with all their units.

    A unit is as strong as the mean over models of its strongest correlation, a concept as strong
    as its strongest unit, from which it has its id.

    Args:
        generator: Its name.
        buddies: Model to its best buddies with the generator (the generator is a).
        clusters: Units (generator_layer, generator_channel) to the number of each one's cluster.
    """
    table = rosetta_units(buddies)
    if table.empty:
        return pd.DataFrame(columns=COLUMNS)
    units = table[UNIT].drop_duplicates(ignore_index=True)
    units["cluster"] = clusters(units)
    best = table.groupby([*UNIT, "model"])["correlation"].max().groupby(UNIT).mean()
    units = units.merge(best.rename("strength").reset_index(), on=UNIT)
    order = units.groupby("cluster")["strength"].max().sort_values(ascending=False, kind="stable")
    units["concept"] = units["cluster"].map({c: i + 1 for i, c in enumerate(order.index)})
    table = table.merge(units, on=UNIT).assign(generator=generator)
    table = table.sort_values(
        ["concept", "strength", *UNIT, "model", "correlation", "layer", "channel"],
        ascending=[True, False, True, True, True, False, True, True],
    )
    table["concept_id"] = concept_ids(table)
    return table[COLUMNS].reset_index(drop=True)


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    if len(a.models) != len(a.buddies):
        raise UserError(f"{len(a.models)} --models and {len(a.buddies)} --buddies: one of each.")
    buddies = {
        model: read_best_buddies(path, [a.generator, model])
        for model, path in zip(a.models, a.buddies, strict=True)
    }
    itself = [a.generator, a.generator]
    selves = read_best_buddies(a.self_buddies, itself)
    correlations = open_dataset(a.self_correlations)
    refuse_other_models(a.self_correlations, itself)
    clusters = clustering(options_from(a, Clustering), selves, correlations)
    provenance = Provenance(
        "dictionary",
        [a.generator, *a.models],
        read_manifest(a.self_buddies)["sample_set"],
        ingredients([*a.buddies, a.self_buddies, a.self_correlations]),
        a.identity,
    )
    write_table(dictionary(a.generator, buddies, clusters), a.output, provenance)
