"""Concepts of one dictionary beside those of another, by the generator's units that they share."""

import numpy as np
import pandas as pd

from rosetta_steps.matching.identity import unit_name
from rosetta_steps.matching.tables import COMPARED

# What became of a concept. Those of the first dictionary are kept, changed, merged or gone, those
# of the second kept, changed, split or new.
KEPT, CHANGED, MERGED, GONE, SPLIT, NEW = "kept", "changed", "merged", "gone", "split", "new"
SURVIVES = (KEPT, CHANGED)
UNIT = ["generator_layer", "generator_channel"]


def compared(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Pair the concepts of two dictionaries of one generator.

    The overlap of two concepts is the number of units of the generator that both have, divided by
    those that either has (Jaccard). Two concepts are one that survived if each is the one with the
    largest overlap for the other: `kept` with the same units, `changed` with others. A concept of
    the first that is no such pair is `merged` into the concept of the second that has more than
    half of its units, or `gone` if none has. One of the second that is no such pair was `split` off
    a concept of the first that survived and had more than half of its units, or is `new`.

    Args:
        first: A dictionary, as rosetta.csv.
        second: Another one of the same generator.

    Returns:
        A row a concept of either, as COMPARED, in the order of `first`, then of `second`.
    """
    concepts = [_concepts(first), _concepts(second)]
    shared = _shared(first, second)
    sizes = [concepts[0]["units"], concepts[1]["units"]]
    of_a, of_b = (sizes[side].loc[shared[side]].to_numpy() for side in (0, 1))
    shared["overlap"] = shared["shared"] / (of_a + of_b - shared["shared"])
    best = [_best(shared, side) for side in (0, 1)]
    rows: list[tuple[str, int | None, int | None]] = []
    survivors = {a: b for a, b in best[0].items() if best[1][b] == a}
    for a in concepts[0].index:
        if a in survivors:
            b = survivors[a]
            same = shared["overlap"][(shared[0] == a) & (shared[1] == b)].iloc[0] == 1
            rows.append((KEPT if same else CHANGED, a, b))
        else:
            holder = _holder(shared, 0, a, sizes[0][a])
            rows.append((GONE if holder is None else MERGED, a, holder))
    for b in concepts[1].index:
        if b not in survivors.values():
            holder = _holder(shared, 1, b, sizes[1][b])
            from_survivor = holder in survivors
            rows.append((SPLIT if from_survivor else NEW, holder if from_survivor else None, b))
    table = pd.DataFrame(rows, columns=["status", 0, 1])
    for side, name in enumerate("ab"):
        of = concepts[side].reindex(table[side]).reset_index(drop=True)
        table[f"concept_id_{name}"] = of["concept_id"].fillna("")
        for column in ("concept", "units"):
            table[f"{column}_{name}"] = of[column].astype("Int64")
        table[f"strength_{name}"] = of["strength"].astype(float)
    table = table.merge(shared, on=[0, 1], how="left")
    table["shared"] = table["shared"].fillna(0).astype(int)
    return table.fillna({"overlap": 0.0})[list(COMPARED)]


def _concepts(table: pd.DataFrame) -> pd.DataFrame:
    """Id, rank, number of the generator's units and strength of each concept, by rank."""
    first = table.drop_duplicates("concept").set_index("concept", drop=False)
    units = table.drop_duplicates(["concept", *UNIT]).groupby("concept").size()
    names = [unit_name(*unit) for unit in table[UNIT].itertuples(index=False)]
    own = table[np.array(names, dtype=object) == table["concept_id"].to_numpy()]
    best = own.groupby(["concept", "model"])["correlation"].max().groupby("concept").mean()
    return first[["concept_id", "concept"]].assign(units=units, strength=best)


def _shared(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Ranks 0 and 1 of concepts that share units, and how many."""
    units = [table[["concept", *UNIT]].drop_duplicates() for table in (first, second)]
    both = units[0].merge(units[1], on=UNIT).groupby(["concept_x", "concept_y"]).size()
    return both.rename("shared").reset_index().rename(columns={"concept_x": 0, "concept_y": 1})


def _best(shared: pd.DataFrame, side: int) -> dict[int, int]:
    """Of each concept of a side the one with the largest overlap; of equal ones the strongest."""
    order = shared.sort_values([side, "overlap", 1 - side], ascending=[True, False, True])
    return order.drop_duplicates(side).set_index(side)[1 - side].to_dict()


def _holder(shared: pd.DataFrame, side: int, concept: int, units: int) -> int | None:
    """The concept of the other side that has more than half of a concept's units, if one has."""
    own = shared[(shared[side] == concept) & (2 * shared["shared"] > units)]
    return None if own.empty else int(own[1 - side].iloc[0])


def in_words(table: pd.DataFrame) -> str:
    """What became of the concepts, in three lines.

    Args:
        table: As `compared` gives it.
    """
    count = (
        table["status"].value_counts().reindex([KEPT, CHANGED, MERGED, GONE, SPLIT, NEW]).fillna(0)
    )
    count = count.astype(int)
    survivors = table[table["status"].isin(SURVIVES)]
    same = int((survivors["concept_id_a"] == survivors["concept_id_b"]).sum())
    share = f" ({100 * same / len(survivors):.0f} %)" if len(survivors) else ""
    total = {"a": count[[KEPT, CHANGED, MERGED, GONE]], "b": count[[KEPT, CHANGED, SPLIT, NEW]]}
    return (
        f"Of {total['a'].sum()} concepts of A, {count[KEPT]} are kept, {count[CHANGED]} have other "
        f"units, {count[MERGED]} are merged into another, {count[GONE]} are gone.\n"
        f"Of {total['b'].sum()} concepts of B, {count[SPLIT]} split off from another, {count[NEW]} "
        "are new.\n"
        f"{same} of {len(survivors)} concepts that survive{share} have the same id."
    )
