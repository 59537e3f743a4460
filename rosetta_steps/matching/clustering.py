"""Clustering of a generator's Rosetta units into concepts (section 3.2)."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from rosetta_steps.matching.settings import METHODS, Clustering


def clustering(
    settings: Clustering, selves: pd.DataFrame, correlations: xr.Dataset
) -> Callable[[pd.DataFrame], np.ndarray]:
    """Return the function that assigns a cluster number to each Rosetta unit.

    Args:
        settings: Method and threshold.
        selves: Best buddies of the generator with itself.
        correlations: Correlations of the generator's units with each other.
    """
    method = globals()[METHODS[settings.method].function]
    return lambda units: method(units, selves, correlations, settings)


def components(
    units: pd.DataFrame, selves: pd.DataFrame, correlations: xr.Dataset, settings: Clustering
) -> np.ndarray:
    """Number the connected components of the best-buddy graph BB(G, G; K), the paper's clusters.

    Components can form chains: each unit resembles the next, yet the first and the last may have
    nothing in common.

    Args:
        units: One row for each unit, with columns generator_layer and generator_channel.
        selves: Best buddies of the generator with itself.
        correlations: Not looked at.
        settings: Not looked at.

    Returns:
        Component number of each unit, (unit) int.
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
    units: pd.DataFrame, selves: pd.DataFrame, correlations: xr.Dataset, settings: Clustering
) -> np.ndarray:
    """Number the clusters of average linkage.

    The two clusters with the highest mean correlation are joined until that mean is below
    `min_correlation` of the settings.

    Args:
        units: One row for each unit, with columns generator_layer and generator_channel.
        selves: Not looked at.
        correlations: Correlations of the generator's units with each other.
        settings: Their `min_correlation` is the mean below which two clusters are not joined.

    Returns:
        Cluster number of each unit, (unit) int.
    """
    if len(units) < 2:
        return np.zeros(len(units), int)
    names = zip(correlations["layer_a"].values, correlations["channel_a"].values, strict=True)
    place = {unit: i for i, unit in enumerate(names)}
    chosen = [place[unit] for unit in units.itertuples(index=False, name=None)]
    distance = 1 - correlations["correlation"].values[np.ix_(chosen, chosen)].astype(np.float64)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform((distance + distance.T) / 2), "average")
    return fcluster(tree, 1 - settings.min_correlation, "distance")
