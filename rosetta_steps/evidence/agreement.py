"""In how many models does a unit of the generator have a match: partial conjunction.

Of m models, the hypothesis that fewer than u of them hold a match of the unit has the p-value

    p(u) = (m - u + 1) * p_(u),  p_(1) <= ... <= p_(m) those of the models, at most 1

(Benjamini and Heller 2008, by Bonferroni's rule, which needs no independence between models). Over
the units its false discovery rate is held by Benjamini and Hochberg's procedure.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

UNIT = ["layer_a", "channel_a"]


def unit_p_values(
    pairs: pd.DataFrame, decoys: Sequence[pd.DataFrame], units: int, column: str = "left"
) -> pd.DataFrame:
    """p-value of each unit's strongest best buddy: as strong a one by images that were moved.

    Args:
        pairs: Best buddies: layer_a, channel_a and the value by which they are strong.
        decoys: The same of each decoy, mined alike. A unit without a best buddy there counts as
            one that has nothing as strong.
        units: Number of units of the generator.
        column: Name of the value.

    Returns:
        A row a unit with a best buddy: layer_a, channel_a, `column`, and
        p = (1 + #{units of decoys as strong}) / (1 + #{units of decoys}), never 0.

    Raises:
        ValueError: There is no decoy.
    """
    if not decoys:
        raise ValueError("no decoy")
    strongest = pairs.groupby(UNIT, sort=False)[column].max().reset_index()
    chance = np.sort(np.concatenate([d.groupby(UNIT)[column].max().to_numpy() for d in decoys]))
    chance = chance[~np.isnan(chance)]
    values = strongest[column].to_numpy()
    as_strong = len(chance) - np.searchsorted(chance, values, side="left")
    p = (1 + as_strong) / (1 + len(decoys) * units)
    return strongest.assign(p=np.where(np.isnan(values), 1.0, p))


def partial_conjunction(p: np.ndarray, least: int) -> np.ndarray:
    """p-value of each unit that fewer than `least` models hold a match of it.

    Args:
        p: p-value of each unit and model, (unit, model); 1 where there is no best buddy.
        least: Number of models u, from 1 to all.

    Returns:
        (unit).
    """
    models = p.shape[1]
    return np.minimum((models - least + 1) * np.sort(p, axis=1)[:, least - 1], 1)


def models_that_hold(tables: Sequence[pd.DataFrame], units: int, level: float) -> pd.Series:
    """Number of generator units that have a match in at least so many models.

    Args:
        tables: Of each model, as unit_p_values gives them.
        units: Number of units of the generator, which are all tested.
        level: False discovery rate.

    Returns:
        Index 1 to the number of models.
    """
    columns = [table.set_index(UNIT)["p"] for table in tables]
    p = pd.concat(columns, axis=1).fillna(1.0).to_numpy() if columns else np.ones((0, 0))
    silent = np.ones((units - len(p), p.shape[1]))  # without a best buddy anywhere
    p = np.concatenate([p, silent])
    counts = {
        least: int((false_discovery_control(partial_conjunction(p, least)) <= level).sum())
        for least in range(1, p.shape[1] + 1)
    }
    return pd.Series(counts, dtype=int)
