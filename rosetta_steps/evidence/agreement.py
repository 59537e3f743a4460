"""In how many models does a unit of the generator have a match: partial conjunction.

Of m models, the hypothesis that fewer than u of them hold a match of the unit has the p-value

    p(u) = (m - u + 1) * p_(u),  p_(1) <= ... <= p_(m) those of the models, at most 1

(Benjamini and Heller 2008, by Bonferroni's rule, which needs no independence between models). Over
the units its false discovery rate is held by Benjamini and Hochberg's procedure.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

UNIT = ["layer", "channel"]
LEVEL = 0.05  # false discovery rate of the counts that are shown


def unit_p_values(
    units: pd.DataFrame, pairs: pd.DataFrame, decoys: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """p-value of each unit's strongest best buddy: as strong a one by images that were moved.

    Args:
        units: layer and channel of all units of the generator.
        pairs: layer_a, channel_a and left (by which it is strong) of each best buddy.
        decoys: The same of each decoy, mined alike. A unit without a best buddy there counts as
            one that has nothing as strong.

    Returns:
        A row a unit: layer, channel; left, NaN without a best buddy; and
        p = (1 + #{units of decoys as strong}) / (1 + #{units of decoys}), which is never 0, 1
        without a best buddy, and NaN of all units without decoys.
    """
    named = units.reset_index(drop=True)
    found = named.merge(_strongest(pairs), how="left", on=UNIT, sort=False)
    if not decoys:
        return found.assign(p=np.nan)
    chance = np.sort(np.concatenate([_strongest(decoy)["left"].to_numpy() for decoy in decoys]))
    chance = chance[~np.isnan(chance)]
    values = found["left"].to_numpy()
    as_strong = len(chance) - np.searchsorted(chance, values, side="left")
    p = (1 + as_strong) / (1 + len(decoys) * len(units))
    return found.assign(p=np.where(np.isnan(values), 1.0, p))


def _strongest(pairs: pd.DataFrame) -> pd.DataFrame:
    of_units = pairs.groupby(["layer_a", "channel_a"], sort=False)["left"].max()
    return of_units.rename_axis(UNIT).reset_index()


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


def models_that_hold(tables: Sequence[pd.DataFrame], level: float = LEVEL) -> pd.Series:
    """Number of generator units that have a match in at least so many models.

    Args:
        tables: Of each model, as unit_p_values gives them.
        level: False discovery rate.

    Returns:
        Index 1 to the number of models; empty if some model has no p-values.
    """
    if not tables or any(table["p"].isna().any() for table in tables):
        return pd.Series(dtype=int)
    p = pd.concat([table.set_index(UNIT)["p"] for table in tables], axis=1).to_numpy()
    counts = {
        least: discoveries(partial_conjunction(p, least), level)
        for least in range(1, p.shape[1] + 1)
    }
    return pd.Series(counts, dtype=int)


def discoveries(p: np.ndarray, level: float) -> int:
    """Number of hypotheses that Benjamini and Hochberg's procedure rejects.

    Args:
        p: p-value of each hypothesis, (hypothesis).
        level: False discovery rate.
    """
    # As scipy.stats.false_discovery_control, whose import takes longer than a page's text.
    rank = np.arange(1, len(p) + 1)
    below = np.flatnonzero(np.sort(p) * (len(p) / rank) <= level)
    return int(rank[below[-1]]) if len(below) else 0
