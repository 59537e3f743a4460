"""Which Rosetta units of a generator make one concept (section 3.2)."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from rosetta_steps.matching.settings import Clustering


def clustering(
    settings: Clustering, selves: pd.DataFrame, correlations: xr.Dataset
) -> Callable[[pd.DataFrame], np.ndarray]:
    """A function from Rosetta units to the number of each one's cluster.

    Args:
        settings: Which method, and its threshold.
        selves: Best buddies of the generator with itself.
        correlations: Of the generator with itself.
    """
    if settings.method == "components":
        return lambda units: components(units, selves)
    return lambda units: average_linkage(units, correlations, settings.min_correlation)


def components(units: pd.DataFrame, selves: pd.DataFrame) -> np.ndarray:
    """Connected components under BB(G, G; K), the paper's clusters.

    They chain: each unit resembles the next, and the first and the last may share nothing.

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


def average_linkage(
    units: pd.DataFrame, correlations: xr.Dataset, min_correlation: float
) -> np.ndarray:
    """Join the two clusters whose units correlate most on average, while that is enough.

    Args:
        units: generator_layer, generator_channel, one row a unit.
        correlations: Of the generator with itself.
        min_correlation: Mean Pearson correlation between two clusters below which they stay two.

    Returns:
        Number of the cluster of each unit.
    """
    if len(units) < 2:
        return np.zeros(len(units), int)
    names = zip(correlations["layer_a"].values, correlations["channel_a"].values, strict=True)
    place = {unit: i for i, unit in enumerate(names)}
    chosen = [place[unit] for unit in units.itertuples(index=False, name=None)]
    distance = 1 - correlations["correlation"].values[np.ix_(chosen, chosen)].astype(np.float64)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform((distance + distance.T) / 2), "average")
    return fcluster(tree, 1 - min_correlation, "distance")
