"""Links between units of two generators, through units of models that both match.

No image is made by both generators, so that their units cannot be correlated. But a model looks at
the images of both: where a unit of each has the same unit of the model as a best buddy, the two are
linked. One model links many pairs by accident; several models seldom agree by accident.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rosetta_steps.evidence.kernels import strongest_ways
from rosetta_steps.matching.identity import unit_name
from rosetta_steps.matching.tables import LINKED_PAIRS, LINKED_UNITS, LINKS
from rosetta_steps.runtime.errors import UserError

UNIT = ["layer", "channel"]
PAIR = ["layer_a", "channel_a", "layer_b", "channel_b"]
COMMON, UNCERTAIN, ONLY_HERE = "common", "uncertain", "only here"
RESAMPLES = 200  # of models that link independently of each other


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
        counts: Indexed by a number of models: `pairs` of concepts that at least so many link;
            `by_chance`, how many would be if models linked independently of each other; `q`, the
            false discovery rate, which is their ratio.
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
    passes every test; the strength of a link is the lesser of the two correlations.

    One model links pairs by accident, where units of it match much. So the models are held against
    each other, and concepts are counted, as units of one are linked with each other's partners; a
    unit of no concept counts by itself. Each model keeps its links, but whose they are is permuted
    among the concepts of a layer that it links, of the first generator and then of the second.
    Pairs that at least k models still link, on the side that gives more, are there by chance, and
    q of a pair is the least share of them that any k up to its number of models has. It says
    whether models agree, not that a concept has no other counterpart. With one model nothing is
    certain.

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
    groups = [_groups(*both) for both in zip(own, dictionaries, strict=True)]
    of_concepts = np.stack([_of_groups(matrix, *groups) for matrix in linking])
    counts = _counts(of_concepts, groups, seed)
    links = pd.concat([table.assign(model=model) for model, table in ways.items()])
    pairs = _pairs(links)
    a, b = (of.codes[places] for of, places in zip(groups, _places(pairs, own), strict=True))
    pairs["concept_models"] = of_concepts.sum(0)[a, b]
    pairs["q"] = counts["q"].reindex(pairs["concept_models"]).to_numpy()
    order = ["concept_models", "models", "strength"]
    pairs = pairs.sort_values(order, ascending=False, kind="stable", ignore_index=True)
    ranks = {model: _ranks(table, *_places(pairs, own)) for model, table in reach.items()}
    pairs["mean_reciprocal_rank"] = np.mean([1 / rank for rank in ranks.values()], axis=(0, 2))
    for side, dictionary in zip("ab", dictionaries, strict=True):
        pairs[f"concept_id_{side}"] = _concepts_of(pairs, side, dictionary)
    ranked = [
        pairs[PAIR].assign(model=model, rank_a=rank[:, 0], rank_b=rank[:, 1])
        for model, rank in ranks.items()
    ]
    links = pairs[PAIR].merge(links, on=PAIR).merge(pd.concat(ranked), on=[*PAIR, "model"])
    units = _units(pairs, dictionaries, reach, own, level)
    return Linked(
        links=links[list(LINKS)],
        pairs=pairs[list(LINKED_PAIRS)],
        units=units,
        counts=counts,
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


@dataclass(frozen=True)
class _Groups:
    """Concepts of a generator's units, and units that belong to none.

    Attributes:
        codes: Number of each unit's group, (unit).
        layers: Number of each group's layer, that of its strongest unit, (group).
    """

    codes: np.ndarray
    layers: np.ndarray


def _groups(units: pd.MultiIndex, dictionary: pd.DataFrame) -> _Groups:
    concepts = _concepts(dictionary).to_dict()
    named = [concepts.get(unit, unit_name(*unit)) for unit in units]
    codes, names = pd.factorize(np.array(named, object))
    layers, _ = pd.factorize(pd.Index([str(name).rpartition(":")[0] for name in names]))
    return _Groups(codes, layers)


def _of_groups(matrix: np.ndarray, first: _Groups, second: _Groups) -> np.ndarray:
    """Which groups are linked, as some of their units are, (group_a, group_b) bool."""
    found = np.zeros((len(first.layers), len(second.layers)), bool)
    rows, columns = np.nonzero(matrix)
    found[first.codes[rows], second.codes[columns]] = True
    return found


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


def _pairs(links: pd.DataFrame) -> pd.DataFrame:
    """The pairs that some model links, and how many do."""
    groups = links.groupby(PAIR, sort=False)
    return groups.agg(models=("model", "size"), strength=("strength", "mean")).reset_index()


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
        linked_by_some = found["models"].notna()
        status = np.select([found["q"] <= level, linked_by_some], [COMMON, UNCERTAIN], ONLY_HERE)
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
            # fmax ignores NaN, of units that never vary.
            table["nearest"] = np.fmax.reduce(np.moveaxis(near, axis, 0)[rows], axis=1)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)[list(LINKED_UNITS)]


def _counts(linking: np.ndarray, groups: Sequence[_Groups], seed: int) -> pd.DataFrame:
    """How many pairs of groups at least so many models link, and would by chance."""
    number = range(1, len(linking) + 1)
    found = linking.sum(0)
    sides = ((linking, groups[0].layers), (linking.transpose(0, 2, 1), groups[1].layers))
    counts = pd.DataFrame(
        {
            "pairs": [int((found >= least).sum()) for least in number],
            "by_chance": np.max([_by_chance(*side, seed) for side in sides], axis=0),
        },
        index=pd.Index(number, name="models"),
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        # One more in all resamples, so that no q is 0 because too few were drawn.
        share = (counts["by_chance"] + 1 / RESAMPLES) / counts["pairs"]
    counts["q"] = share.clip(upper=1).cummin()
    return counts


def _by_chance(linking: np.ndarray, layers: np.ndarray, seed: int) -> np.ndarray:
    """Mean over resamples of how many pairs at least so many models link, 1 and up.

    Args:
        linking: Which pairs each model links, (model, group, partner).
        layers: Of the groups that are permuted.
        seed: Of the resamples.
    """
    random = np.random.default_rng(seed)
    places = [np.nonzero(matrix) for matrix in linking]
    # Only what a model links changes places: that the others match nothing is no agreement.
    rows = [np.flatnonzero(matrix.any(1)) for matrix in linking]
    totals = np.zeros(len(linking))
    for _ in range(RESAMPLES):
        count = np.zeros(linking.shape[1:], np.int16)
        for own, (row, column) in zip(rows, places, strict=True):
            moved = np.arange(len(layers))
            moved[own] = own[_permuted_within(layers[own], random)]
            count[moved[row], column] += 1
        totals += [(count >= least).sum() for least in range(1, len(linking) + 1)]
    return totals / RESAMPLES


def _permuted_within(groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A permutation of positions that leaves each in its group."""
    order = np.argsort(groups, kind="stable")
    shuffled = np.lexsort((random.random(len(groups)), groups))
    permutation = np.empty(len(groups), int)
    permutation[order] = shuffled
    return permutation
