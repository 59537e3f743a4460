"""What is tested and what with: pairs, control units of model and generator, q-values."""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rosetta_steps.matching.identity import unit_name

SEED = 0


def strongest_pairs(dictionary: pd.DataFrame, model: str, concepts: int) -> pd.DataFrame:
    """The strongest pair with a model of each of the strongest concepts.

    Args:
        dictionary: rosetta.csv.
        model: Name of the model.
        concepts: Number of concepts.

    Returns:
        Rows of the dictionary, one a concept, in their order.
    """
    own = dictionary[(dictionary["model"] == model) & (dictionary["concept"] <= concepts)]
    order = own.sort_values(["concept", "correlation"], ascending=[True, False], kind="stable")
    return order.drop_duplicates("concept").reset_index(drop=True)


def candidates_of(
    pair: pd.Series, dictionary: pd.DataFrame, deviations: np.ndarray, count: int
) -> list[int]:
    """Candidates for the generator's control unit of a pair, drawn at random from its layer.

    Units of the same concept and those that are matched to the same partner are none: they may
    paint the same.

    Args:
        pair: A row of the dictionary.
        dictionary: rosetta.csv.
        deviations: Of the units of the generator's layer, (channel); NaN of one that never varies.
        count: Number of candidates at most.
    """
    layer = dictionary[dictionary["generator_layer"] == pair["generator_layer"]]
    partner = (layer[["model", "layer", "channel"]] == pair[["model", "layer", "channel"]]).all(
        axis=1
    )
    alike = layer[(layer["concept"] == pair["concept"]) | partner]["generator_channel"]
    free = np.setdiff1d(np.flatnonzero(deviations > 0), [*alike, pair["generator_channel"]])
    # By the unit and not by the concept's rank, so that another model leaves the draw as it is.
    name = unit_name(pair["generator_layer"], pair["generator_channel"])
    random = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    return sorted(random.permutation(free)[:count].tolist())


def matched_controls(
    partner: int, deviations: np.ndarray, explained: np.ndarray, others: Sequence[int], count: int
) -> np.ndarray:
    """Units of the partner's layer that are most like it in deviation and low-level R^2.

    Args:
        partner: Its channel.
        deviations: Standard deviation of every unit of the layer; NaN of one that never varies.
        explained: R^2 of every unit on low-level features.
        others: Channels that are no controls: other matches of the same unit.
        count: Number of controls at most.

    Returns:
        Channels, the nearest first: by distance of log deviation and R^2, each in units of its own
        standard deviation over the layer.
    """
    with np.errstate(divide="ignore"):
        values = np.stack([np.log(deviations), explained])
    free = np.setdiff1d(np.flatnonzero(deviations > 0), [partner, *others])
    spread = values[:, [*free, partner]].std(1)
    away = (values[:, free] - values[:, [partner]]) / np.where(spread > 0, spread, 1)[:, None]
    return free[np.argsort(np.square(away).sum(0), kind="stable")[:count]]
