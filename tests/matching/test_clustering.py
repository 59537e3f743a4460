"""Rosetta units become concepts: by the paper's components, or by average linkage."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from rosetta_steps.matching.clustering import clustering
from rosetta_steps.matching.settings import Clustering


def correlations_of(table):
    units = len(table)
    return xr.Dataset(
        {"correlation": (("unit_a", "unit_b"), table.astype(np.float32))},
        {
            "layer_a": ("unit_a", np.array(["g"] * units, object)),
            "channel_a": ("unit_a", np.arange(units)),
        },
    )


def units_of(*channels):
    return pd.DataFrame({"generator_layer": "g", "generator_channel": list(channels)})


def partition(labels):
    return {frozenset(np.flatnonzero(labels == label)) for label in np.unique(labels)}


def by_definition(table, least):
    """Join, step by step, the two clusters of greatest mean correlation."""
    clusters = [frozenset([i]) for i in range(len(table))]
    while len(clusters) > 1:
        mean = {
            pair: np.mean([table[i, j] for i in pair[0] for j in pair[1]])
            for pair in combinations(clusters, 2)
        }
        closest = max(mean, key=mean.get)
        if mean[closest] < least:
            break
        clusters = [c for c in clusters if c not in closest] + [closest[0] | closest[1]]
    return set(clusters)


def clusters(units, correlations=None, *, selves=None, least=0.3):
    """Cluster numbers by average linkage, or by components where best buddies are given."""
    method = "average" if selves is None else "components"
    return clustering(Clustering(method, least), selves, correlations)(units)


@pytest.mark.parametrize("least", [-0.2, 0.0, 0.2, 0.9])
def test_average_linkage_is_that_of_the_definition(least):
    table = np.corrcoef(np.random.default_rng(0).normal(size=(4, 12)).T)
    labels = clusters(units_of(*range(12)), correlations_of(table), least=least)
    assert partition(labels) == by_definition(table, least)


def test_average_linkage_reads_the_rosetta_units_out_of_all_units():
    table = np.eye(5)
    table[1, 4] = table[4, 1] = 0.8
    labels = clusters(units_of(4, 0, 1), correlations_of(table), least=0.5)
    assert partition(labels) == {frozenset([0, 2]), frozenset([1])}


def test_one_unit_is_one_concept():
    assert list(clusters(units_of(2), correlations_of(np.eye(3)), least=0.3)) == [0]


def test_components_chain_where_average_linkage_does_not():
    table = np.array([[1, 0.5, -0.4], [0.5, 1, 0.5], [-0.4, 0.5, 1]])
    selves = pd.DataFrame(
        {"layer_a": "g", "channel_a": [0, 1], "layer_b": "g", "channel_b": [1, 2]}
    )
    units = units_of(0, 1, 2)
    assert len(partition(clusters(units, selves=selves))) == 1
    assert len(partition(clusters(units, correlations_of(table), least=0.3))) == 2


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="method: 'ward' is none of average, components"):
        Clustering("ward")
