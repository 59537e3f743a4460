"""An atlas: the generator's units of a dictionary, those that correlate close to each other."""

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.website.content import Content

MOST = 3000  # units, of which the table of distances takes 36 MB
PERPLEXITY = 30.0  # neighbours that a unit is to stay close to, as sklearn has it


def atlas(content: Content, correlations: xr.Dataset) -> list[dict]:
    """Place the generator's units of the dictionary in the plane.

    Args:
        content: What the site says of the dictionary.
        correlations: Of the generator with itself, every pair.

    Returns:
        Units of the strongest concepts, MOST at most, with `x` and `y` in [0, 1], the rank and
        the id of their concept, and the place of their layer (`depth`, from 0 to 1). Nothing where
        only nearest partners were kept.
    """
    if "correlation" not in correlations:
        return []
    ranks = {
        unit: min(ranks)
        for unit, ranks in content.units_of_concepts.items()
        if unit.model == content.dictionary.generator
    }
    units = sorted(ranks, key=lambda unit: ranks[unit])[:MOST]
    names = pd.MultiIndex.from_arrays(
        [correlations["layer_a"].values.astype(str), correlations["channel_a"].values]
    )
    rows = names.get_indexer([(unit.layer, unit.channel) for unit in units])
    places = placed(correlations["correlation"].values[np.ix_(rows, rows)])
    layers = list(dict.fromkeys(names.get_level_values(0)))
    ids = {concept.number: concept.id for concept in content.dictionary.concepts}
    return [
        content.unit(unit)
        | {
            "x": float(x),
            "y": float(y),
            "rank": ranks[unit],
            "concept_id": ids[ranks[unit]],
            "depth": layers.index(unit.layer) / max(1, len(layers) - 1),
        }
        for unit, (x, y) in zip(units, places, strict=True)
    ]


def placed(correlation: np.ndarray) -> np.ndarray:
    """Places of units in the plane, by t-SNE (van der Maaten and Hinton 2008) of 1 - r.

    Args:
        correlation: Pearson's r, (unit, unit); NaN counts as 0.

    Returns:
        (unit, 2) in [0, 1]; the same for the same table.
    """
    from sklearn.manifold import TSNE

    units = len(correlation)
    if units < 4:
        return np.column_stack([np.linspace(0.25, 0.75, units), np.full(units, 0.5)])
    distance = np.clip(1 - np.nan_to_num(correlation), 0, 2)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    perplexity = min(PERPLEXITY, (units - 1) / 3)
    model = TSNE(metric="precomputed", init="random", perplexity=perplexity, random_state=0)
    found = model.fit_transform(distance)
    low, high = found.min(0), found.max(0)
    return (found - low) / np.where(high > low, high - low, 1)
