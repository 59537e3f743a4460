"""Links between units of two generators, through units of models that both match.

No image is made by both generators, so that their units cannot be correlated. But a model looks at
the images of both: where a unit of each has the same unit of the model as a best buddy, the two are
linked. One model links by accident where few units match anything; several models seldom agree by
accident.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammaln
from scipy.stats import false_discovery_control

from rosetta_steps.evidence.kernels import strongest_ways
from rosetta_steps.matching.tables import LINKED_PAIRS, LINKED_UNITS, LINKS
from rosetta_steps.runtime.errors import UserError

UNIT = ["layer", "channel"]
PAIR = ["layer_a", "channel_a", "layer_b", "channel_b"]
COMMON, UNCERTAIN, ONLY_HERE = "common", "uncertain", "only here"
AGREE = 2  # models that have to link two units before these are called common, where there are two
RESAMPLES = 200  # of models that link independently of each other
ROWS = 256  # units of the first generator that are counted at the same time


@dataclass(frozen=True, kw_only=True)
class Leg:
    """What a generator has in a model.

    Attributes:
        own: Units of the generator, (row) by layer and channel.
        units: Units of the model, (column) by layer and channel.
        correlation: Pearson's r of every pair, (row, column) float32; NaN where a unit never
            varies. None where only nearest partners were kept.
        buddies: Best buddies that pass every test, as EVIDENCE: the generator is a.
    """

    own: pd.MultiIndex
    units: pd.MultiIndex
    correlation: np.ndarray | None
    buddies: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Linked:
    """How the units of two generators are linked.

    Attributes:
        links: A row a linked pair and model that links it, as LINKS.
        pairs: A row a linked pair, as LINKED_PAIRS, the most certain first.
        units: A row a unit of either dictionary, as LINKED_UNITS.
        counts: Indexed by a number of models: `pairs` linked by at least so many; `by_chance`, how
            many would be if every unit matched another one of the same layer; `by_agreement`, how
            many if models linked independently of each other.
    """

    links: pd.DataFrame
    pairs: pd.DataFrame
    units: pd.DataFrame
    counts: pd.DataFrame


def linked(
    legs: Mapping[str, tuple[Leg, Leg]],
    dictionaries: Sequence[pd.DataFrame],
    *,
    level: float,
    seed: int = 0,
) -> Linked:
    """Link the units of two generators.

    A pair of units is linked by a model in which both have the same unit as a best buddy that
    passes every test; the strength of a link is the lesser of the two correlations. Its p is the
    probability that at least as many models link it if what a unit matches were drawn from the
    same layers anew: hypergeometric for each layer, independent between models. q controls the
    false discovery rate over all pairs (Benjamini and Hochberg 1995).

    Args:
        legs: Of each model, with the first and with the second generator.
        dictionaries: Of both, as rosetta.csv.
        level: Of q, above which no pair is called common.
        seed: Of the resamples.

    Raises:
        ValueError: There is no model.
    """
    if not legs:
        raise UserError("no model was mined with both generators: there is nothing to link.")
    for model, (first, second) in legs.items():
        if not first.units.equals(second.units):
            raise UserError(
                f"the two sample sets were mined with other layers of {model}: give both the same "
                "`layers`."
            )
    own = [one.own for one in next(iter(legs.values()))]
    ways = {model: _ways(*both) for model, both in legs.items()}
    reach = {model: reached(*both) for model, both in legs.items()}
    linking = np.stack([_matrix(table, own) for table in ways.values()])
    chances = np.stack([chance_of_link(*both) for both in legs.values()])
    links = pd.concat([table.assign(model=model) for model, table in ways.items()])
    pairs = _pairs(links, linking, chances, own)
    ranks = {model: _ranks(table, *_places(pairs, own)) for model, table in reach.items()}
    pairs["mean_reciprocal_rank"] = np.mean([1 / rank for rank in ranks.values()], axis=(0, 2))
    for side, dictionary in zip("ab", dictionaries, strict=True):
        pairs[f"concept_id_{side}"] = _concepts_of(pairs, side, dictionary)
    ranked = [
        pairs[PAIR].assign(model=model, rank_a=rank[:, 0], rank_b=rank[:, 1])
        for model, rank in ranks.items()
    ]
    links = pairs[PAIR].merge(links, on=PAIR).merge(pd.concat(ranked), on=[*PAIR, "model"])
    units = _units(pairs, dictionaries, reach, own, min(AGREE, len(legs)), level)
    return Linked(
        links=links[list(LINKS)],
        pairs=pairs[list(LINKED_PAIRS)],
        units=units,
        counts=_counts(linking, chances, own[0], seed),
    )


def _ways(first: Leg, second: Leg) -> pd.DataFrame:
    """The strongest link of each pair of units through a model."""
    sides = [
        leg.buddies[["layer_a", "channel_a", "layer_b", "channel_b", "correlation", "q"]].rename(
            columns={
                "layer_b": "layer",
                "channel_b": "channel",
                "layer_a": f"layer_{side}",
                "channel_a": f"channel_{side}",
                "correlation": f"correlation_{side}",
                "q": f"q_{side}",
            }
        )  # fmt: skip
        for leg, side in ((first, "a"), (second, "b"))
    ]
    ways = sides[0].merge(sides[1], on=UNIT)
    ways["strength"] = ways[["correlation_a", "correlation_b"]].min(axis=1)
    order = ways.sort_values("strength", ascending=False, kind="stable")
    return order.drop_duplicates(PAIR, ignore_index=True)


def _matrix(ways: pd.DataFrame, own: Sequence[pd.MultiIndex]) -> np.ndarray:
    """Which pairs of units are linked, (unit_a, unit_b) bool."""
    matrix = np.zeros([len(units) for units in own], bool)
    matrix[_places(ways, own)] = True
    return matrix


def _places(table: pd.DataFrame, own: Sequence[pd.MultiIndex]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the units of pairs among all units of their generators."""
    of = [[f"layer_{side}", f"channel_{side}"] for side in "ab"]
    first, second = (
        units.get_indexer(pd.MultiIndex.from_frame(table[names]))
        for units, names in zip(own, of, strict=True)
    )
    return first, second


def reached(first: Leg, second: Leg) -> np.ndarray | None:
    """How strongly each pair of units could be linked through a model, best buddies or not.

    Returns:
        The largest, over the units of the model, of the lesser of both correlations, (unit_a,
        unit_b) float32; NaN for a unit that never varies. None where correlations were not kept.
    """
    if first.correlation is None or second.correlation is None:
        return None
    tables = (np.nan_to_num(whole, nan=-2.0) for whole in (first.correlation, second.correlation))
    found = strongest_ways(*map(np.ascontiguousarray, tables))
    found[found < -1.5] = np.nan
    return found


def _ranks(reach: np.ndarray | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Places of pairs among all pairs of the one unit, and of the other, (pair, 2), from 1."""
    if reach is None:
        return np.full((len(rows), 2), np.nan)
    values = reach[rows, columns]
    of_b = [(reach[row] > value).sum() + 1 for row, value in zip(rows, values, strict=True)]
    of_a = [(reach[:, one] > value).sum() + 1 for one, value in zip(columns, values, strict=True)]
    return np.array([of_a, of_b], float).T.reshape(-1, 2)


def chance_of_link(first: Leg, second: Leg) -> np.ndarray:
    """Probability that a model links each pair of units, if what each matches were drawn anew.

    A unit keeps how many units of each layer it matches, but which of those that vary is drawn.
    None of n drawn from N is among k others with probability C(N - n, k) / C(N, k).

    Returns:
        (unit_a, unit_b) float64.
    """
    layers = dict.fromkeys(first.units.get_level_values(0))
    counts = [_matches(leg, list(layers)) for leg in (first, second)]
    none = np.zeros([len(of_units) for of_units in counts])  # logarithm of the probability
    for place, layer in enumerate(layers):
        most = [int(of_units[:, place].max(initial=0)) for of_units in counts]
        if not all(most):
            continue
        varying = _varying(first, second, layer)
        table = _none_in_common(varying, *most)
        none += table[counts[0][:, place]][:, counts[1][:, place]]
    return -np.expm1(none)


def _matches(leg: Leg, layers: list[str]) -> np.ndarray:
    """How many units of each layer each unit of a generator matches, (unit, layer) int."""
    counts = np.zeros((len(leg.own), len(layers)), int)
    units = pd.MultiIndex.from_frame(leg.buddies[["layer_a", "channel_a"]])
    places = pd.Index(layers).get_indexer(leg.buddies["layer_b"])
    np.add.at(counts, (leg.own.get_indexer(units), places), 1)
    return counts


def _varying(first: Leg, second: Leg, layer: str) -> int:
    """How many units of a layer vary over the images of both generators."""
    of_layer = first.units.get_level_values(0) == layer
    for leg in (first, second):
        if leg.correlation is not None:
            of_layer = of_layer & ~np.isnan(leg.correlation).all(0)
    return int(of_layer.sum())


def _none_in_common(units: int, first: int, second: int) -> np.ndarray:
    """Log probability that n and k units have none in common, (n, k) from 0."""
    n, k = np.ogrid[: first + 1, : second + 1]
    with np.errstate(invalid="ignore"):
        # gammaln(m + 1) is the logarithm of m!, of which there is none where m is negative.
        left = np.maximum(units - n - k, 0)
        log = (
            gammaln(units - n + 1) + gammaln(units - k + 1)
            - gammaln(left + 1) - gammaln(units + 1)
        )  # fmt: skip
    return np.where(n + k > units, -np.inf, log)


def at_least_each(chances: np.ndarray) -> np.ndarray:
    """Probability that at least 0, 1, ... of independent events happen.

    Args:
        chances: Of each event, (event, ...).

    Returns:
        (number from 0 to all, ...).
    """
    exactly = np.zeros((len(chances) + 1, *chances.shape[1:]))
    exactly[0] = 1
    for chance in chances:
        exactly[1:] = exactly[1:] * (1 - chance) + exactly[:-1] * chance
        exactly[0] *= 1 - chance
    return np.cumsum(exactly[::-1], axis=0)[::-1]


def _pairs(
    links: pd.DataFrame, linking: np.ndarray, chances: np.ndarray, own: Sequence[pd.MultiIndex]
) -> pd.DataFrame:
    """The pairs that some model links, by how many do, and how likely that is by chance."""
    groups = links.groupby(PAIR, sort=False)
    pairs = groups.agg(models=("model", "size"), strength=("strength", "mean")).reset_index()
    rows, columns = _places(pairs, own)
    tail = at_least_each(chances[:, rows, columns])
    pairs["p"] = tail[pairs["models"].to_numpy(), np.arange(len(pairs))]
    # Every pair that could be linked was tested; those that are not have p = 1.
    unlinked = int((chances > 0).any(axis=0).sum()) - len(pairs)
    padded = np.concatenate([pairs["p"], np.ones(unlinked)])
    pairs["q"] = false_discovery_control(padded)[: len(pairs)] if len(pairs) else np.nan
    order = ["models", "strength"]
    return pairs.sort_values(order, ascending=False, kind="stable", ignore_index=True)


def _concepts_of(pairs: pd.DataFrame, side: str, dictionary: pd.DataFrame) -> np.ndarray:
    """Concepts that the units of a side belong to; empty for those that belong to none."""
    units = pd.MultiIndex.from_frame(pairs[[f"layer_{side}", f"channel_{side}"]])
    return _concepts(dictionary).astype(object).reindex(units, fill_value="").to_numpy()


def _concepts(dictionary: pd.DataFrame) -> pd.Series:
    """The concept of each unit of a generator in a dictionary."""
    units = ["generator_layer", "generator_channel"]
    return dictionary.drop_duplicates(units).set_index(units)["concept_id"]


def _units(
    pairs: pd.DataFrame,
    dictionaries: Sequence[pd.DataFrame],
    reach: Mapping[str, np.ndarray | None],
    own: Sequence[pd.MultiIndex],
    agree: int,
    level: float,
) -> pd.DataFrame:
    """Whether each unit of either dictionary is common, or only here."""
    tables = [table for table in reach.values() if table is not None]
    near = np.mean(tables, axis=0) if len(tables) == len(reach) else None
    parts = []
    for axis, (side, other) in enumerate((("a", "b"), ("b", "a"))):
        names = [f"layer_{side}", f"channel_{side}"]
        best = pairs.drop_duplicates(names).set_index(names)
        concepts = _concepts(dictionaries[axis])
        found = best.reindex(concepts.index)
        certain = (found["models"] >= agree) & (found["q"] <= level)
        status = np.select([certain, found["models"].notna()], [COMMON, UNCERTAIN], ONLY_HERE)
        table = pd.DataFrame(
            {
                "side": side,
                "layer": concepts.index.get_level_values(0),
                "channel": concepts.index.get_level_values(1),
                "concept_id": concepts.to_numpy(),
                "status": status,
                "partner_layer": found[f"layer_{other}"].fillna("").to_numpy(),
                "partner_channel": found[f"channel_{other}"].astype("Int64").to_numpy(),
                "models": found["models"].fillna(0).astype(int).to_numpy(),
                "strength": found["strength"].to_numpy(),
                "q": found["q"].to_numpy(),
                "nearest": np.nan,
            }
        )
        if near is not None:
            rows = own[axis].get_indexer(concepts.index)
            with np.errstate(invalid="ignore"):
                table["nearest"] = np.nanmax(np.moveaxis(near, axis, 0)[rows], axis=1)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)[list(LINKED_UNITS)]


def _counts(
    linking: np.ndarray, chances: np.ndarray, units: pd.MultiIndex, seed: int
) -> pd.DataFrame:
    """How many pairs at least so many models link, and would by chance."""
    models = len(linking)
    by_chance = np.zeros(models + 1)
    for start in range(0, linking.shape[1], ROWS):
        by_chance += at_least_each(chances[:, start : start + ROWS]).sum((1, 2))
    number = range(1, models + 1)
    found = linking.sum(0)
    return pd.DataFrame(
        {
            "pairs": [int((found >= least).sum()) for least in number],
            "by_chance": by_chance[1:],
            "by_agreement": _agreeing_by_chance(linking, units, seed),
        },
        index=pd.Index(number, name="models"),
    )


def _agreeing_by_chance(linking: np.ndarray, units: pd.MultiIndex, seed: int) -> list[float]:
    """How many pairs at least so many models link, if they linked independently of each other.

    Each model keeps its links, but whose they are is permuted within layers of the first generator.
    """
    random = np.random.default_rng(seed)
    layers = units.codes[0]
    places = [np.array(_nonzero(matrix)) for matrix in linking]
    totals = np.zeros(len(linking))
    for _ in range(RESAMPLES):
        count = np.zeros(linking.shape[1:], np.int16)
        for rows, columns in places:
            count[_permuted_within(layers, random)[rows], columns] += 1
        totals += [(count >= least).sum() for least in range(1, len(linking) + 1)]
    return list(totals / RESAMPLES)


def _nonzero(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(matrix)
    return rows, columns


def _permuted_within(groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A permutation of positions that leaves each in its group."""
    order = np.argsort(groups, kind="stable")
    shuffled = np.lexsort((random.random(len(groups)), groups))
    permutation = np.empty(len(groups), int)
    permutation[order] = shuffled
    return permutation
