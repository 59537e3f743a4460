"""The same network untrained: how much of a match does the architecture give?

Two questions. Of a pair: is its r larger than that of the same generator unit with any unit of any
untrained copy (`excess`)? Of a table: how many pairs, and how strong at equal rank, have untrained
copies (`figures`)? Counts and medians alone mislead, because a network with more pairs brings in
weaker ones; strength at equal rank does not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.config.names import split_untrained
from rosetta_steps.correlation.similarities import similarity_of
from rosetta_steps.matching.best_buddies import best_buddies, nearest_both_ways
from rosetta_steps.matching.nearest import Nearest
from rosetta_steps.matching.tables import UNTRAINED, write_table
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import open_dataset, open_each
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest

KIND = "untrained"
THRESHOLDS = (0.3, 0.5)  # of r
RANKS = (1, 5, 10, 25, 50, 100)  # of pairs at K = 1, the strongest first
STRONGEST = 50  # pairs at K = 1
COUNT, CORRELATION = "count", "r"  # kinds of figures


def open_untrained(correlations: Path, untrained: Sequence[Path]) -> list[xr.Dataset]:
    """Open the correlations of a generator with untrained copies of a model.

    Args:
        correlations: Those with the model itself.
        untrained: Those with its copies.

    Raises:
        StoreError: One is of the model itself, of another model or generator, of other units or
            images, or mined in another way.
    """
    table, tables = open_dataset(correlations), open_each(open_dataset, untrained)
    generator, model = (str(table.attrs[f"model_{side}"]) for side in "ab")
    sample_set = read_manifest(correlations)["sample_set"]
    seen: dict[str, Path] = {}
    for path, other in zip(untrained, tables, strict=True):
        first, second = (str(other.attrs[f"model_{side}"]) for side in "ab")
        base, seed = split_untrained(second)
        remedy = f"Give correlations of {generator} with untrained copies of {model}."
        if first != generator:
            raise StoreError(f"{path} is of {first}, and the pairs are of {generator}. {remedy}")
        if second == model:
            raise StoreError(f"{path} is of {model} itself, which is trained. {remedy}")
        if seed is None or base != model:
            raise StoreError(f"{path} is of {second}, which is no copy of {model}. {remedy}")
        if second in seen:
            raise StoreError(f"{path} and {seen[second]} are of one copy, {second}. Leave one out.")
        seen[second] = path
        images = read_manifest(path)["sample_set"]
        if images != sample_set:
            raise StoreError(
                f"{path} is of the images of {images}, and the pairs of {sample_set}. Correlate on "
                "the same images."
            )
        for side, of in zip("ab", (generator, model), strict=True):
            names = [f"layer_{side}", f"channel_{side}"]
            if any(not np.array_equal(table[n].values, other[n].values) for n in names):
                raise StoreError(
                    f"{path} has other units of {of} than {correlations}. Choose the same layers."
                )
        if similarity_of(table.attrs) != similarity_of(other.attrs):
            raise StoreError(
                f"{path} holds {similarity_of(other.attrs).title}, and {correlations} "
                f"{similarity_of(table.attrs).title}. Correlate both in the same way."
            )
    return tables


def excess(
    correlations: xr.Dataset, pairs: pd.DataFrame, untrained: Sequence[xr.Dataset]
) -> np.ndarray:
    """r of pairs less that of the same generator unit with its best untrained partner.

    Args:
        correlations: Those with the model itself.
        pairs: layer_a, channel_a and correlation of each pair.
        untrained: Those with its untrained copies, with the same units in the same order.

    Returns:
        (pair) float64; NaN where no untrained unit has a correlation with the unit.
    """
    best = np.full(correlations.sizes["unit_a"], np.nan)
    for other in untrained:
        of_copy, _ = nearest_both_ways(other, 1)
        best = np.fmax(best, of_copy.correlation[:, 0].astype(np.float64))
    units = pd.MultiIndex.from_arrays(
        [correlations["layer_a"].values.astype(str), correlations["channel_a"].values]
    )
    wanted = pd.MultiIndex.from_frame(pairs[["layer_a", "channel_a"]])
    return pairs["correlation"].to_numpy(np.float64) - best[units.get_indexer(wanted)]


def figures(correlations: xr.Dataset, neighbours: Sequence[int]) -> dict[str, float]:
    """What correlations say of one network.

    Args:
        correlations: Of the generator's units with those of the model.
        neighbours: Each K to count best buddies with.

    Returns:
        By what it is: counts (int), and correlations, NaN where there are not so many pairs.

    Raises:
        ValueError: There are fewer units than neighbours, or fewer were kept.
    """
    near = {k: nearest_both_ways(correlations, k) for k in dict.fromkeys([1, *neighbours])}
    of_a, of_b = near[1]
    found: dict[str, float] = {
        "units": correlations.sizes["unit_b"],
        "units that never vary": int((of_b.partner[:, 0] < 0).sum()),
    }
    for k in dict.fromkeys(neighbours):
        found |= _counted(near[k], f"K = {k}:")
    best = of_a.correlation[of_a.partner[:, 0] >= 0, 0]
    found["mean over generator units of the best r"] = _mean(best)
    ranked = np.sort(best_buddies(of_a, of_b)["correlation"])[::-1]
    for rank in RANKS:
        found[f"K = 1: r at rank {rank}"] = ranked[rank - 1] if len(ranked) >= rank else np.nan
    strongest = ranked[:STRONGEST] if len(ranked) >= STRONGEST else ranked[:0]
    found[f"K = 1: mean r of the strongest {STRONGEST} pairs"] = _mean(strongest)
    return found


def _counted(near: tuple[Nearest, Nearest], kind: str) -> dict[str, float]:
    pairs = best_buddies(*near)
    own = pairs.groupby("unit_a")["correlation"].max()
    found: dict[str, float] = {f"{kind} pairs": len(pairs)}
    for threshold in THRESHOLDS:
        found[f"{kind} pairs above r = {threshold}"] = int((pairs["correlation"] > threshold).sum())
    found[f"{kind} generator units with a buddy"] = len(own)
    for threshold in THRESHOLDS:
        found[f"{kind} of them above r = {threshold}"] = int((own > threshold).sum())
    found[f"{kind} strongest r"] = pairs["correlation"].max()
    found[f"{kind} median r"] = pairs["correlation"].median()
    return found


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else np.nan


def table_of(
    trained: Mapping[str, float], untrained: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """Figures side by side.

    Args:
        trained: As `figures` gives them.
        untrained: The same, by network.

    Returns:
        A row a figure: columns UNTRAINED of matching.tables, and then a column a network. `share`
        is (1 + mean of the untrained) / trained of a count of best buddies, at most 1.
    """
    of_networks = pd.DataFrame(untrained).astype(float)
    kinds = np.array([COUNT if isinstance(n, int) else CORRELATION for n in trained.values()])
    own = np.array([float(value) for value in trained.values()])
    mean = of_networks.mean(axis=1).to_numpy()
    counted = (kinds == COUNT) & of_networks.index.str.startswith("K = ")  # of pairs and of units
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(counted & (own > 0), np.minimum((1 + mean) / own, 1), np.nan)
    summary = {
        "figure": of_networks.index,
        "kind": kinds,
        "trained": own,
        "untrained_mean": mean,
        "untrained_lowest": of_networks.min(axis=1).to_numpy(),
        "untrained_highest": of_networks.max(axis=1).to_numpy(),
        "networks": of_networks.notna().sum(axis=1).to_numpy(),
        "share": share,
    }
    return pd.concat([pd.DataFrame(summary), of_networks.reset_index(drop=True)], axis=1)


def write_comparison(
    correlations: Path,
    untrained: Sequence[Path],
    output: Path,
    *,
    neighbours: int,
    identity: str | None = None,
) -> None:
    """Write what a generator's best buddies with a model and with its untrained copies are.

    Args:
        correlations: Of the generator with the model.
        untrained: Of the generator with its copies.
        output: X.csv to write.
        neighbours: K; best buddies with K = 1 are counted besides.
        identity: Identity of the result, as Provenance takes it.

    Raises:
        StoreError: A store is damaged, or is not of an untrained copy of the model.
    """
    made_of = ingredients([correlations, *untrained])
    tables = open_untrained(correlations, untrained)
    trained = open_dataset(correlations)
    each = (1, neighbours)
    found = table_of(
        figures(trained, each),
        {str(table.attrs["model_b"]): figures(table, each) for table in tables},
    )
    state = read_manifest(correlations)
    provenance = Provenance(KIND, state["models"], state["sample_set"], made_of, identity)
    write_table(found[list(UNTRAINED)], output, provenance)
