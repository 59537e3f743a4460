"""How much of each layer is shared, and how much would be by chance."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rosetta_steps.evidence.partners import UNIT, YES, of_both
from rosetta_steps.matching.tables import COVERAGE


def coverage(tables: Mapping[str, pd.DataFrame], generator: str) -> pd.DataFrame:
    """Count the shared units of each layer.

    Of a model a unit is shared if it has a best buddy in the generator; of the generator, if it has
    one in at least so many models. By chance are those that have one where images were moved
    (decoys), on average over decoys; where several models count, as if they were independent.

    Args:
        tables: Model to its partners with the generator (evidence.partners).
        generator: Its name.

    Returns:
        As COVERAGE: the layers of the generator for each number of models, then of each model, in
        their order.
    """
    rows = of_both(tables, generator)
    parts = [_layers(generator, _units_of_several(rows), len(tables))]
    for model, table in tables.items():
        own = table[table["model"] == model]
        parts.append(_layers(model, _units_of_several(own.assign(other=model)), 1))
    return pd.concat(parts, ignore_index=True)[list(COVERAGE)]


def _units_of_several(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a unit: in how many models it has best buddies, passing ones, and how likely by chance.

    Returns:
        layer, channel, varies, buddies, passing, and `chance`, (model) probabilities.
    """
    groups = rows.groupby(UNIT, sort=False)
    yes = rows.assign(b=rows["best_buddy"] == YES, p=rows["passes"] == YES).groupby(
        UNIT, sort=False
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        share = rows["decoy_buddies"].to_numpy() / rows["decoys"].to_numpy()
    chance = rows.assign(c=share).pivot(index=UNIT, columns="other", values="c")
    found = pd.DataFrame(
        {
            "varies": groups["correlation"].count() > 0,
            "buddies": yes["b"].sum(),
            "passing": yes["p"].sum(),
        }
    )
    found["chance"] = list(chance.loc[found.index].to_numpy())
    return found.reset_index()


def _layers(model: str, units: pd.DataFrame, models: int) -> pd.DataFrame:
    layers = list(dict.fromkeys(units["layer"]))
    rows = []
    for least in range(1, models + 1):
        for place, layer in enumerate(layers):
            own = units[units["layer"] == layer]
            likely = [at_least(least, chance) for chance in own["chance"]]
            rows.append(
                {
                    "model": model,
                    "layer": layer,
                    "depth": place / max(1, len(layers) - 1),
                    "units": len(own),
                    "silent": int((~own["varies"]).sum()),
                    "at_least": least,
                    "shared": int((own["buddies"] >= least).sum()),
                    "passing": int((own["passing"] >= least).sum()),
                    "by_chance": float(np.sum(likely)),
                }
            )
    return pd.DataFrame(rows)


def at_least(count: int, chances: np.ndarray) -> float:
    """Probability that at least so many of independent events happen.

    >>> at_least(1, np.array([0.5, 0.5])), at_least(2, np.array([0.5, 0.5]))
    (0.75, 0.25)
    """
    distribution = np.ones(1)
    for chance in chances:
        distribution = np.convolve(distribution, [1 - chance, chance])
    return float(distribution[count:].sum())
