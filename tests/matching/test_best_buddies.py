"""Best buddies and concepts against their definitions."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from rosetta_steps.matching.best_buddies import best_buddies, table_of
from rosetta_steps.matching.clustering import clustering
from rosetta_steps.matching.concepts import COLUMNS, dictionary
from rosetta_steps.matching.nearest import nearest, nearest_of_all
from rosetta_steps.matching.settings import Clustering


def by_definition(r: np.ndarray, neighbours: int) -> set:
    """Eq. 3 with loops."""

    def nearest(row):
        known = [i for i in range(len(row)) if not np.isnan(row[i])]
        return sorted(known, key=lambda i: (-row[i], i))[:neighbours]

    return {
        (j, k, nearest(r[j]).index(k) + 1, nearest(r[:, k]).index(j) + 1)
        for j in range(r.shape[0])
        for k in nearest(r[j])
        if j in nearest(r[:, k])
    }


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_best_buddies_and_ranks_are_those_of_the_definition(neighbours):
    r = np.random.default_rng(0).uniform(-1, 1, (20, 30)).astype(np.float32).round(1)  # with ties
    r[3], r[:, 7] = np.nan, np.nan
    found = best_buddies(nearest(r, neighbours), nearest(r.T, neighbours))
    rows = found[["unit_a", "unit_b", "rank_a", "rank_b"]].itertuples(index=False, name=None)
    assert set(rows) == by_definition(r, neighbours)


def test_more_neighbours_than_units_are_refused():
    r = xr.Dataset({"correlation": (("unit_a", "unit_b"), np.zeros((5, 9)))})
    with pytest.raises(ValueError, match="K = 6 neighbours of 5 and 9 units"):
        table_of(r, 6)


def test_the_nearest_of_tiles_are_those_of_the_whole_table_to_the_last_tie():
    r = np.random.default_rng(1).uniform(-1, 1, (20, 30)).astype(np.float32).round(1)
    r[3], r[:, 7], r[5, 2:] = np.nan, np.nan, np.nan
    whole = nearest(r, 4)
    parts = [nearest(r[:, first : first + 7], 4, first) for first in range(0, 30, 7)]
    merged = nearest_of_all(parts, 4)
    np.testing.assert_array_equal(merged.partner, whole.partner)
    np.testing.assert_array_equal(merged.correlation, whole.correlation)
    assert (merged.partner[3] == -1).all() and (merged.partner[5] >= 0).sum() == 2


def pairs(*rows) -> pd.DataFrame:
    names = ["layer_a", "channel_a", "layer_b", "channel_b", "correlation"]
    return pd.DataFrame([("g", a, "d", b, r) for a, b, r in rows], columns=names)


def test_units_with_a_buddy_in_every_model_are_clustered_by_the_generators_own_buddies():
    buddies = {
        "one": pairs((0, 5, 0.5), (1, 6, 0.9), (2, 7, 0.8), (3, 8, 0.4)),
        "two": pairs((0, 1, 0.7), (1, 2, 0.3), (3, 4, 0.4)),
    }
    selves = pairs((0, 1, 0.9), (1, 0, 0.9), (1, 2, 0.8))
    selves["layer_b"] = "g"
    table = dictionary("gan", buddies, clustering(Clustering("components"), selves, None))
    assert list(table.columns) == COLUMNS
    concepts = table.groupby("concept")["generator_channel"].unique().map(sorted).to_dict()
    assert concepts == {1: [0, 1], 2: [3]}  # unit 2 has no buddy in model two


def test_no_rosetta_unit_gives_an_empty_dictionary_with_its_columns():
    buddies = {"one": pairs((0, 1, 0.5)), "two": pairs((1, 1, 0.5))}
    table = dictionary("gan", buddies, clustering(Clustering("components"), pairs(), None))
    assert table.empty and list(table.columns) == COLUMNS
