"""The evidence of every best buddy of two models, as a table.

From the correlations and their decoys, the moments, the sums over images and, where they are asked
for, covariances of the model's units; no map is read.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.correlation.similarities import MEAN_MAP, similarity_of
from rosetta_steps.evidence.chance import decoys_of, q_values
from rosetta_steps.evidence.covariances import open_covariances
from rosetta_steps.evidence.intervals import ImageSums, interval, without_top_images
from rosetta_steps.evidence.parts import PAIR, correlation_left, where_of_pairs
from rosetta_steps.evidence.settings import FEWEST_IMAGES, Evidence
from rosetta_steps.evidence.spread import spread_of
from rosetta_steps.evidence.untrained import excess, open_untrained
from rosetta_steps.evidence.verdicts import failures, verdicts
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import EVIDENCE, read_best_buddies, write_table
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import open_dataset, open_each, open_tree
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest

KIND = "evidence"
TOP_IMAGES = 10  # that are left out
FEWEST = 5 * TOP_IMAGES  # images, below which leaving out ten says nothing
# What says nothing of a similarity that is no correlation.
OF_CORRELATIONS = ["where", "amount", "place", "q_place", "low", "high", "without_top_images"]
OF_CORRELATIONS += ["top_positions", "partial_low_level", "rotation_excess", "one_unit_share"]
DEFAULTS = Evidence()


def write_evidence(
    correlations: Path,
    buddies: Path,
    moments: Sequence[Path],
    sums: Path,
    output: Path,
    *,
    neighbours: int,
    untrained: Sequence[Path] = (),
    settings: Evidence = DEFAULTS,
    covariances: Path | None = None,
    identity: str | None = None,
) -> None:
    """Write the evidence of every best buddy of two models.

    Args:
        correlations: Correlations of the models, with decoys.
        buddies: Table of their best buddies.
        moments: Moments of both models.
        sums: Sums over images of these pairs (evidence.image_sums).
        output: X.csv to write.
        neighbours: K with which the best buddies were mined.
        untrained: Correlations of the first model with untrained copies of the second.
        settings: How evidence is computed and judged.
        covariances: Covariances of the second model (evidence.covariances), with which pairs are
            held against rotated bases and linear readouts; None: not at all.
        identity: Identity of the result, as Provenance takes it.

    Raises:
        StoreError: A store or table is damaged, belongs to others, or was mined with another K.
    """
    optional = [covariances] if covariances else []
    made_of = ingredients([correlations, buddies, *moments, sums, *untrained, *optional])
    table, of_images, trees = (
        open_dataset(correlations),
        open_dataset(sums),
        open_each(open_tree, moments),
    )
    models = [table.attrs["model_a"], table.attrs["model_b"]]
    pairs = read_best_buddies(buddies, models)
    if not table_of(table, neighbours)[PAIR].equals(pairs[PAIR]):
        raise StoreError(
            f"{buddies} was not mined from {correlations} with K = {neighbours}. Run the workflow: "
            "it mines and tests with one config."
        )
    copies = open_untrained(correlations, untrained)
    sample_set = read_manifest(correlations)["sample_set"]
    of_layers = open_covariances(covariances, models, trees, sample_set) if covariances else None
    found = evidence_of(
        table,
        pairs,
        trees,
        of_images,
        neighbours,
        untrained=copies,
        settings=settings,
        covariances=of_layers,
    )
    write_table(found, output, Provenance(KIND, models, sample_set, made_of, identity))


def evidence_of(
    correlations: xr.Dataset,
    pairs: pd.DataFrame,
    moments: Sequence[xr.DataTree],
    of_images: xr.Dataset,
    neighbours: int,
    *,
    untrained: Sequence[xr.Dataset] = (),
    settings: Evidence = DEFAULTS,
    covariances: xr.DataTree | None = None,
) -> pd.DataFrame:
    """The evidence of best buddies, a row a pair: columns EVIDENCE of matching.tables.

    Args:
        correlations: Correlations of both models, with or without decoys and splits.
        pairs: Their best buddies.
        moments: Moments of both models.
        of_images: Sums over images of the pairs, in their order.
        neighbours: K.
        untrained: Correlations of the first model with untrained copies of the second.
        settings: How evidence is computed and judged.
        covariances: Of the second model, of each layer; None leaves their columns empty.
    """
    found = pd.DataFrame(np.nan, pairs.index, list(EVIDENCE)).astype({"verdict": object})
    found[PAIR] = pairs[PAIR]
    if pairs.empty:
        return found
    of_pairs = where_of_pairs(moments, pairs)
    r = pairs["correlation"].to_numpy()
    # Mined without mean maps, a table holds what is left of r, of which nothing is `where`.
    similarity = similarity_of(correlations.attrs)
    left_only = similarity.about == MEAN_MAP
    sums = ImageSums.of(of_images, "left" if left_only else "sum")
    if left_only:
        of_pairs = of_pairs.assign(where=0.0, deviations=of_pairs["left"])
    found["correlation"] = r
    found["where"] = of_pairs["where"]
    found["amount"] = sums.amount() / of_pairs["deviations"]
    found["place"] = found["correlation"] - found["where"] - found["amount"]
    decoys = [table_of(decoy, neighbours) for decoy in decoys_of(correlations)]
    images = of_images.sizes["image"]
    stay = correlations.attrs.get("decoy_images_that_stay", 0)
    if decoys and 2 * stay > images:
        _leave_empty(
            f"decoys could move {images - stay} of {images} images only, because the others are "
            "alone in their class among those read at once. A larger correlation.images_per_block, "
            "or fewer classes, would do",
            "q and q_place",
        )
    elif decoys:
        of_decoys = [d["correlation"].to_numpy() for d in decoys]
        found["q"] = q_values(r, of_decoys)
        left = [
            values if left_only else correlation_left(values, where_of_pairs(moments, decoy))
            for values, decoy in zip(of_decoys, decoys, strict=True)
        ]
        found["q_place"] = q_values(correlation_left(r, of_pairs), left)
    found["held_out"] = _held_out(correlations, pairs, neighbours)
    if images >= FEWEST_IMAGES:
        found["low"], found["high"] = interval(sums, settings.resamples)
    else:
        _leave_empty(
            f"{images} images are too few to draw from again: {FEWEST_IMAGES} would do",
            "low and high",
        )
    if images >= FEWEST:
        found["without_top_images"] = without_top_images(sums, TOP_IMAGES)
    else:
        _leave_empty(
            f"{images} images are too few to leave out the {TOP_IMAGES} most influential: {FEWEST} "
            "would do",
            "without_top_images",
        )
    found["top_positions"] = of_images["top_positions"].values
    found["partial_low_level"] = of_images["partial_low_level"].values
    if covariances is not None and similarity.about is not None:
        columns = _spread(correlations, pairs, moments, covariances)
        found[list(columns)] = columns
    if untrained:
        found["untrained_excess"] = excess(correlations, pairs, untrained)
    if similarity.about is None:
        found[OF_CORRELATIONS] = np.nan
        _leave_empty(f"What was mined is {similarity.title}", ", ".join(OF_CORRELATIONS))
    found["verdict"] = verdicts(failures(found, settings.level))
    return found


def _spread(
    correlations: xr.Dataset,
    pairs: pd.DataFrame,
    moments: Sequence[xr.DataTree],
    covariances: xr.DataTree,
) -> pd.DataFrame:
    if "correlation" not in correlations:
        _leave_empty(
            "correlations are those of the nearest partners only. In the config, correlation: "
            "keep: table would do",
            "rotation_excess and one_unit_share",
        )
        return pd.DataFrame(index=pairs.index)
    if "split" not in correlations.sizes:
        _leave_empty(
            "a readout is tested on images that gave no coefficient. In the config, correlation: "
            "splits: 2 would do",
            "one_unit_share",
        )
    return spread_of(correlations, pairs, moments, covariances)


def _leave_empty(reason: str, columns: str) -> None:
    print(f"{reason}. {columns}: left empty.", file=sys.stderr)


def _held_out(correlations: xr.Dataset, pairs: pd.DataFrame, neighbours: int) -> np.ndarray:
    """r on images that a pair was not chosen on, the mean over the splits that choose it."""
    splits = correlations.sizes.get("split", 0)
    if not splits:
        return np.full(len(pairs), np.nan)
    tables = [
        correlations[["split_correlation"]].isel(split=s).rename(split_correlation="correlation")
        for s in range(splits)
    ]
    values = np.stack([_values(table, pairs) for table in tables])
    chosen = np.zeros((splits, len(pairs)), bool)
    wanted = pd.MultiIndex.from_frame(pairs[PAIR])
    for split, table in enumerate(tables):
        chosen[split] = wanted.isin(pd.MultiIndex.from_frame(table_of(table, neighbours)[PAIR]))
    others = (values.sum(0) - values) / (splits - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (others * chosen).sum(0) / chosen.sum(0)


def _values(table: xr.Dataset, pairs: pd.DataFrame) -> np.ndarray:
    rows = []
    for side in "ab":
        units = pd.MultiIndex.from_arrays(
            [table[f"layer_{side}"].values.astype(str), table[f"channel_{side}"].values]
        )
        rows.append(
            units.get_indexer(pd.MultiIndex.from_frame(pairs[[f"layer_{side}", f"channel_{side}"]]))
        )
    return table["correlation"].values[rows[0], rows[1]]
