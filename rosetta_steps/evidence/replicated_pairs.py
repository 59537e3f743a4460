"""Which best buddies of one sample set are best buddies of another as well, pair by pair.

Two models are mined on one sample set. On other images (a new seed, another class or truncation,
photos) the same units have other correlations: the pair survives if it is a best buddy there too.
No map is read: correlations, best buddies, moments and sums over images of both sets say all.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.correlation.similarities import MEAN, MEAN_MAP, Similarity, similarity_of
from rosetta_steps.evidence.chance import decoy_stores
from rosetta_steps.evidence.intervals import ImageSums
from rosetta_steps.evidence.parts import PAIR, PartsOfPairs
from rosetta_steps.evidence.settings import FEWEST_IMAGES
from rosetta_steps.maps.resampling import size_of
from rosetta_steps.maps.statistics import mean_and_variance
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import REPLICATED_PAIRS, read_best_buddies, write_table
from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.storage.datasets import open_dataset, open_each, open_tree
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest

KIND = "replicated pairs"
# What mined pairs are held against: other images, those of the same distribution, and, as the level
# that shared favourite places reach, pairs of images that were moved, on both sets.
CONFIRMATION, REFERENCE, DECOYS = "confirmation", "reference", "decoys"
COMPARISONS = (CONFIRMATION, REFERENCE, DECOYS)
SIDES = ("a", "b")
PAIRS_AT_ONCE = 512  # rows of the table that are ranked together
RESAMPLES = 1000


@dataclass(frozen=True)
class Mined:
    """What was mined of two models on a sample set.

    Attributes:
        sample_set: Its name.
        correlations: Of every unit of one with every unit of the other.
        pairs: Best buddies.
        moments: Of both models.
        sums: Sums over images of the pairs, in their order; None where there are none.
    """

    sample_set: str
    correlations: xr.Dataset
    pairs: pd.DataFrame
    moments: Sequence[xr.DataTree]
    sums: xr.Dataset | None

    @property
    def models(self) -> list[str]:
        """Names of the two models."""
        return [self.correlations.attrs[f"model_{side}"] for side in SIDES]

    @property
    def similarity(self) -> Similarity:
        """What was mined."""
        return similarity_of(self.correlations.attrs)


def open_mined(
    correlations: Path, buddies: Path, moments: Sequence[Path], sums: Path, neighbours: int
) -> Mined:
    """What was mined of two models on a sample set, checked.

    Raises:
        StoreError: A store is damaged, or the pairs were mined from others or with another K.
    """
    table, trees = open_dataset(correlations), open_each(open_tree, moments)
    pairs = read_best_buddies(buddies, [table.attrs["model_a"], table.attrs["model_b"]])
    if not table_of(table, neighbours)[PAIR].equals(pairs[PAIR]):
        raise StoreError(
            f"{buddies} was not mined from {correlations} with K = {neighbours}. Run the workflow: "
            "it mines and confirms with one config."
        )
    name = read_manifest(correlations)["sample_set"]
    return Mined(name, table, pairs, trees, open_dataset(sums))


def replicated(
    mined: Mined, other: Mined, comparison: str, *, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """The best buddies of a sample set on another one, a row a pair.

    Args:
        mined: Whose best buddies are looked for.
        other: Where they are looked for.
        comparison: One of COMPARISONS.
        resamples: Bootstrap draws of the images of both sets, for the interval of the difference.

    Returns:
        Columns REPLICATED_PAIRS of matching.tables.

    Raises:
        StoreError: The two are of other models or layers.
        ValueError: They are one sample set, or have too few images.
    """
    refuse_what_cannot_be_compared(mined, other)
    pairs, r = mined.pairs, mined.pairs["correlation"].to_numpy()
    found = pd.DataFrame(np.nan, pairs.index, list(REPLICATED_PAIRS)).astype({"comparison": str})
    found["comparison"] = comparison
    found[PAIR] = pairs[PAIR]
    found["correlation"] = r
    there = pd.MultiIndex.from_frame(other.pairs[PAIR])
    found["survived"] = pd.MultiIndex.from_frame(pairs[PAIR]).isin(there).astype(int)
    if pairs.empty:
        return found
    units = [rows_of(mined.correlations, pairs, side) for side in SIDES]
    confirmed, *ranks = correlation_and_ranks(other.correlations, *units)
    found["confirmed"] = confirmed
    for side, rank, rows in zip(SIDES, ranks, units, strict=True):
        found[f"rank_{side}"] = rank
        found[f"deviation_ratio_{side}"] = deviation_ratio(mined, other, side)
        found[f"depth_{side}"] = depths(mined.correlations, side)[rows]
    found["where_share"] = where_share(mined)
    survived = np.flatnonzero(found["survived"])
    if mined.sums is None or other.sums is None or not len(survived):
        return found
    draws = difference_draws(
        (mined.sums, other.sums), pairs.iloc[survived], mined.similarity.about, resamples
    )
    ends = np.quantile(draws, [0.025, 0.975], axis=0)
    for name, values in zip(("difference_low", "difference_high"), ends, strict=True):
        found.loc[found.index[survived], name] = values
    return found


def refuse_what_cannot_be_compared(mined: Mined, other: Mined) -> None:
    """Raise an error unless two sample sets have the same units and other images."""
    both = f"sample sets {mined.sample_set} and {other.sample_set}"
    if mined.sample_set == other.sample_set:
        raise UserError(
            f"{both}: a match that is mined on {mined.sample_set} cannot be confirmed there. Take "
            "a sample set of other images."
        )
    if mined.models != other.models:
        raise StoreError(
            f"{both} are of other models: {' and '.join(mined.models)}, and "
            f"{' and '.join(other.models)}. Give both the same generator and models."
        )
    for side, model in zip(SIDES, mined.models, strict=True):
        names = [units_of(one.correlations, side) for one in (mined, other)]
        if not names[0].equals(names[1]):
            layers = [", ".join(dict.fromkeys(map(str, of.get_level_values(0)))) for of in names]
            raise StoreError(
                f"{both} have other units of {model}: layers {layers[0]}, and {layers[1]}. Give "
                "both the same layers."
            )
    for one in (mined, other):
        images = int(one.correlations.attrs["images"])
        if images < FEWEST_IMAGES:
            raise UserError(
                f"sample set {one.sample_set} has {images} images, of which a replication says "
                f"nothing: {FEWEST_IMAGES} at least."
            )


def units_of(correlations: xr.Dataset, side: str) -> pd.MultiIndex:
    """Layer and channel of every unit of one side of a table."""
    layers = correlations[f"layer_{side}"].values.astype(str)
    return pd.MultiIndex.from_arrays([layers, correlations[f"channel_{side}"].values])


def rows_of(correlations: xr.Dataset, pairs: pd.DataFrame, side: str) -> np.ndarray:
    """Where the units of pairs stand on a side of a table, (pair)."""
    names = pd.MultiIndex.from_frame(pairs[[f"layer_{side}", f"channel_{side}"]])
    return units_of(correlations, side).get_indexer(names)


def correlation_and_ranks(
    correlations: xr.Dataset, units_a: np.ndarray, units_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlation of pairs, and the rank of each unit among all partners of the other.

    Args:
        correlations: The whole table, or the nearest partners of every unit.
        units_a: Rows of the pairs.
        units_b: Their columns.

    Returns:
        r, the rank of b among the neighbours of a and that of a among those of b, from 1, (pair)
        each. NaN where a unit never varies or, of nearest partners, where the pair is not among
        them.
    """
    if "correlation" not in correlations:
        return _among_the_nearest(correlations, units_a, units_b)
    table = correlations["correlation"].values
    r = table[units_a, units_b].astype(np.float64)
    return r, _ranks(table, units_a, units_b), _ranks(table.T, units_b, units_a)


def _ranks(table: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    # Of equal partners the earlier comes first, as where nearest neighbours are found.
    found = np.full(len(rows), np.nan)
    places = np.arange(table.shape[1])
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        values, column = table[rows[part]], columns[part, None]
        own = np.take_along_axis(values, column, 1)
        before = (values > own) | ((values == own) & (places < column))
        found[part] = np.where(np.isnan(own[:, 0]), np.nan, 1 + before.sum(1))
    return found


def _among_the_nearest(
    kept: xr.Dataset, units_a: np.ndarray, units_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r = np.full(len(units_a), np.nan)
    ranks = []
    for side, own, other in (("a", units_a, units_b), ("b", units_b, units_a)):
        hits = kept[f"partner_{side}"].values[own] == other[:, None]
        place, there = hits.argmax(1), hits.any(1)
        r = np.where(there, kept[f"correlation_{side}"].values[own, place], r)
        ranks.append(np.where(there, 1.0 + place, np.nan))
    return r, ranks[0], ranks[1]


def depths(correlations: xr.Dataset, side: str) -> np.ndarray:
    """Depth of every unit of a side, (unit): the middle of its layer among all, from 0 to 1."""
    number, layers = pd.factorize(correlations[f"layer_{side}"].values.astype(str))
    return (number + 0.5) / len(layers)


def deviation_ratio(mined: Mined, other: Mined, side: str) -> np.ndarray:
    """Standard deviation of each pair's unit on the other set, as a multiple of that here, (pair).

    0 where the unit never varies there. Where it is far from 1, r changes by the range alone.
    """
    here, there = (
        _deviations(one.moments[SIDES.index(side)], mined, side) for one in (mined, other)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return there / here


def _deviations(moments: xr.DataTree, mined: Mined, side: str) -> np.ndarray:
    found = np.full(len(mined.pairs), np.nan)
    for layer, rows in mined.pairs.groupby(f"layer_{side}", sort=False).indices.items():
        of_layer = moments[str(layer)].to_dataset()
        _, variance = mean_and_variance(of_layer, size_of(of_layer["mean_map"]))
        constant = (of_layer["minimum"] == of_layer["maximum"]).values
        deviations = np.sqrt(np.where(constant, 0.0, variance))
        found[rows] = deviations[mined.pairs[f"channel_{side}"].to_numpy()[rows]]
    return found


def where_share(mined: Mined) -> np.ndarray:
    """Share of r by which both units like the same part of every image, (pair)."""
    r = mined.pairs["correlation"].to_numpy()
    if mined.similarity.about != MEAN:
        return np.full(len(r), 0.0 if mined.similarity.about == MEAN_MAP else np.nan)
    where = PartsOfPairs(mined.moments).of(mined.pairs)["where"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(r > 0, where / r, np.nan)


def difference_draws(
    sums: Sequence[xr.Dataset], survivors: pd.DataFrame, about: str | None, resamples: int
) -> np.ndarray:
    """Bootstrap draws of r there minus r here, of pairs that survive.

    The images are the sample, so those of each set are drawn again, apart; the same draws serve
    every pair, so that the draws of different pairs, and of different models, belong together.
    Sums over images exist of each set's own best buddies: so of the survivors alone.

    Args:
        sums: Sums over images here and there (evidence.image_sums).
        survivors: Pairs that both have: layer_a, channel_a, layer_b, channel_b.
        about: What the correlation that was mined is about (correlation.similarities).
        resamples: Number of draws.

    Returns:
        (resample, pair), NaN of a set with too few images, and where no correlation was mined.
    """
    images = [of.sizes["image"] for of in sums]
    if min(images) < FEWEST_IMAGES or about is None:
        return np.full((resamples, len(survivors)), np.nan)
    wanted, draws = pd.MultiIndex.from_frame(survivors[PAIR]), []
    for seed, of in enumerate(sums):
        names = pd.MultiIndex.from_arrays([of[name].values for name in PAIR])
        rows = names.get_indexer(wanted)
        if (rows < 0).any():
            raise StoreError(
                "the sums over images are of other pairs than the best buddies: give those of the "
                "same models and sample sets, in the same order."
            )
        own = ImageSums.of(of.isel(pair=rows), "left" if about == MEAN_MAP else "sum")
        random = np.random.default_rng(seed)
        share = np.full(images[seed], 1 / images[seed])
        weights = random.multinomial(images[seed], share, size=resamples)
        draws.append(own.correlation(weights.astype(np.float64)))
    return draws[1] - draws[0]


def decoys_as_mined(mined: Mined, neighbours: int) -> Mined | None:
    """The first decoy of a sample set as if it had been mined; None where there is none."""
    decoy = next(decoy_stores(mined.correlations), None)
    if decoy is None:
        return None
    decoy = decoy.assign_attrs(mined.correlations.attrs)
    return replace(mined, correlations=decoy, pairs=table_of(decoy, neighbours), sums=None)


def write_replicated_pairs(
    sets: Sequence[Mined],
    comparisons: Sequence[str],
    output: Path,
    *,
    neighbours: int,
    resamples: int = RESAMPLES,
    provenance: Provenance | None = None,
) -> pd.DataFrame:
    """Write what becomes of best buddies on other images.

    Args:
        sets: That on which they were mined, and those on which they are looked for.
        comparisons: What each of the latter is: CONFIRMATION or REFERENCE.
        output: X.csv to write.
        neighbours: K of the best buddies, for those of decoys.
        resamples: Bootstrap draws of the images.
        provenance: Where it comes from.

    Raises:
        StoreError, ValueError: As `replicated`.
    """
    mined, *others = sets
    tables = [
        replicated(mined, other, comparison, resamples=resamples)
        for other, comparison in zip(others, comparisons, strict=True)
    ]
    decoys = [decoys_as_mined(one, neighbours) for one in (mined, others[0])]
    if decoys[0] is not None and decoys[1] is not None:
        tables.append(replicated(decoys[0], decoys[1], DECOYS))
    found = pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
    write_table(found, output, provenance)
    return found


def carry_out(a: argparse.Namespace) -> None:
    """Write the table that a command line asks for."""
    given = (a.correlations, a.buddies, a.moments_a, a.moments_b, a.image_sums)
    counts = {len(of) for of in given}
    if counts != {1 + len(a.comparisons)}:
        raise UserError(
            "give --correlations, --buddies, --moments-a, --moments-b and --image-sums of the "
            "mined sample set and of one for each of --comparisons, in this order."
        )
    made_of = ingredients([path for of in given for path in of])
    sets = [
        open_mined(correlations, buddies, (moments_a, moments_b), sums, a.neighbours)
        for correlations, buddies, moments_a, moments_b, sums in zip(*given, strict=True)
    ]
    mined = sets[0]
    provenance = Provenance(KIND, mined.models, mined.sample_set, made_of, a.identity)
    write_replicated_pairs(
        sets,
        a.comparisons,
        a.output,
        neighbours=a.neighbours,
        resamples=a.resamples,
        provenance=provenance,
    )
