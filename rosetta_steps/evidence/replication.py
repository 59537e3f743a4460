"""How many best buddies survive on other images: by depth and by share of `where`, with intervals.

Survival is the share of the mined best buddies that are best buddies on the other sample set too.
It means something beside that of fresh images of the same distribution alone, which pairs fail by
sampling, and beside that of decoys, pairs of moved images that share favourite places and no more.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd

from rosetta_steps.evidence.replicated_pairs import COMPARISONS, DECOYS, difference_draws
from rosetta_steps.matching.tables import REPLICATION, read_replicated_pairs
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.manifests import read_manifest

MINED = "mined"
EVERY_MODEL = "all models"
# By what pairs are grouped, and the groups from the lowest values up.
THIRDS = {
    "depth_a": ("early", "middle", "late"),
    "depth_b": ("early", "middle", "late"),
    "where_share": ("low", "middle", "high"),
}
ALL = "all"
NORMAL_95 = 1.959963984540054


def wilson(successes: int, trials: int, z: float = NORMAL_95) -> tuple[float, float]:
    """Wilson's score interval of a share (1927); 95 % by default, NaN of no trial."""
    if trials == 0:
        return np.nan, np.nan
    share, over = successes / trials, 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / over
    half = z / over * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def survival_on_other_images(
    pairs: Sequence[Path], sums: Mapping[str, Sequence[Path]], *, about: str | None, resamples: int
) -> pd.DataFrame:
    """The table of survival that belongs to tables of pairs.

    Args:
        pairs: Tables of evidence.replicated_pairs, one a model.
        sums: MINED and each comparison to its sums over images, in the order of the models.
        about: What the correlation that was mined is about (correlation.similarities).
        resamples: Bootstrap draws of the images.

    Returns:
        As `summary`.

    Raises:
        StoreError: A table or store is damaged, or they do not belong together.
    """
    tables = {read_manifest(path)["models"][1]: read_replicated_pairs(path) for path in pairs}
    opened = {role: [open_dataset(path) for path in paths] for role, paths in sums.items()}
    sets = {
        role: (read_manifest(paths[0])["sample_set"], opened[role][0].sizes["image"])
        for role, paths in sums.items()
        if role != MINED
    }
    draws = {}
    for role in sets:
        for place, (model, table) in enumerate(tables.items()):
            survivors = table[(table["comparison"] == role) & (table["survived"] == 1)]
            both = opened[MINED][place], opened[role][place]
            draws[role, model] = difference_draws(both, survivors, about, resamples)
    if any((table["comparison"] == DECOYS).any() for table in tables.values()):
        sets[DECOYS] = next(iter(sets.values()))
    return summary(tables, sets, draws)


def edges_of(pairs: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """The values at which pairs are cut into thirds.

    Args:
        pairs: Mined best buddies of all models.

    Returns:
        Depths at a third and two thirds of the layers; shares of `where` at the terciles of pairs.
    """
    share = pairs["where_share"].dropna()
    terciles = np.quantile(share, [1 / 3, 2 / 3]) if len(share) else (np.nan, np.nan)
    depth = (1 / 3, 2 / 3)
    return {"depth_a": depth, "depth_b": depth, "where_share": (terciles[0], terciles[1])}


def groups_of(
    pairs: pd.DataFrame, edges: Mapping[str, tuple[float, float]]
) -> Iterator[tuple[str, str, tuple[float, float], np.ndarray]]:
    """Every group of pairs: grouping, group, what its values are above and up to, its pairs."""
    yield ALL, ALL, (np.nan, np.nan), np.ones(len(pairs), bool)
    for grouping, names in THIRDS.items():
        first, second = edges[grouping]
        values = pairs[grouping].to_numpy()
        for name, low, high in zip(
            names, (np.nan, first, second), (first, second, np.nan), strict=True
        ):
            yield (
                grouping,
                name,
                (low, high),
                ~(values <= low) & ~(values > high) & ~np.isnan(values),
            )


def summary(
    tables: Mapping[str, pd.DataFrame],
    sample_sets: Mapping[str, tuple[str, int]],
    draws: Mapping[tuple[str, str], np.ndarray],
) -> pd.DataFrame:
    """Survival of every group of pairs, of each model and of all.

    Args:
        tables: Model to what became of its pairs (evidence.replicated_pairs).
        sample_sets: Comparison to the sample set on which pairs were looked for, and its images.
        draws: Comparison and model to the bootstrap draws of the differences of its survivors, as
            difference_draws gives them.

    Returns:
        Columns REPLICATION of matching.tables; groups without a pair have no row, but for all.
    """
    everyone = pd.concat(tables.values(), ignore_index=True)
    edges = edges_of(everyone[everyone["comparison"] != DECOYS])
    found = []
    for comparison in [c for c in COMPARISONS if c in sample_sets]:
        parts = {model: table[table["comparison"] == comparison] for model, table in tables.items()}
        drawn = {model: draws.get((comparison, model)) for model in tables}
        known = [of for of in drawn.values() if of is not None]
        together = np.concatenate(known, 1) if len(known) == len(tables) else None
        rows = [(EVERY_MODEL, pd.concat(parts.values()), together)]
        rows += [(model, parts[model], drawn[model]) for model in tables]
        name, images = sample_sets[comparison]
        for model, pairs, of_survivors in rows if len(tables) > 1 else rows[1:]:
            for grouping, group, bounds, chosen in groups_of(pairs, edges):
                if not chosen.any() and grouping != ALL:
                    continue
                survived = pairs["survived"].to_numpy() == 1
                differences = None if of_survivors is None else of_survivors[:, chosen[survived]]
                found.append(
                    {
                        "comparison": comparison,
                        "sample_set": name,
                        "images": images,
                        "model": model,
                        "grouping": grouping,
                        "group": group,
                    }
                    | {"above": bounds[0], "up_to": bounds[1]}
                    | _of_group(pairs[chosen], differences)
                )
    return pd.DataFrame(found, columns=list(REPLICATION))


def _of_group(pairs: pd.DataFrame, draws: np.ndarray | None) -> dict:
    survived = int(pairs["survived"].sum())
    low, high = wilson(survived, len(pairs))
    difference = pairs["confirmed"] - pairs["correlation"]
    interval = (np.nan, np.nan)
    if draws is not None and draws.shape[1]:
        interval = tuple(np.nanquantile(np.nanmedian(draws, axis=1), [0.025, 0.975]))
    return {
        "pairs": len(pairs),
        "survived": survived,
        "share": survived / len(pairs) if len(pairs) else np.nan,
        "share_low": low,
        "share_high": high,
        **{f"mean_reciprocal_rank_{s}": _reciprocal(pairs[f"rank_{s}"]) for s in "ab"},
        "median_difference": difference.median(),
        "survivors_difference": difference[pairs["survived"] == 1].median(),
        "survivors_difference_low": interval[0],
        "survivors_difference_high": interval[1],
        **{f"median_deviation_ratio_{s}": pairs[f"deviation_ratio_{s}"].median() for s in "ab"},
    }


def _reciprocal(ranks: pd.Series) -> float:
    # No rank: the unit never varies there, or only nearest partners were kept and it is not one.
    return float((1 / ranks).fillna(0).mean()) if len(ranks) else np.nan
