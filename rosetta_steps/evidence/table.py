"""The evidence of every best buddy of two models, as a table.

From the correlations and their decoys, the moments, the sums over images and, where they are asked
for, covariances of the model's units; no map is read.
"""

import sys
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.correlation.similarities import (
    MEAN,
    MEAN_MAP,
    Similarity,
    similarity_of,
)
from rosetta_steps.evidence.agreement import unit_p_values
from rosetta_steps.evidence.chance import decoy_stores, q_values
from rosetta_steps.evidence.compared import open_covariances
from rosetta_steps.evidence.intervals import ImageSums, interval, without_top_images
from rosetta_steps.evidence.parts import PAIR, PartsOfPairs, correlation_left
from rosetta_steps.evidence.settings import FEWEST_IMAGES, Evidence
from rosetta_steps.evidence.untrained import excess, open_untrained
from rosetta_steps.evidence.verdicts import failures, verdicts
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import (
    EVIDENCE,
    read_best_buddies,
    table_of_units,
    write_table,
)
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import open_dataset, open_each, open_tree
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest, refuse_mixed

KIND, KIND_OF_UNITS = "evidence", "evidence of units"
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
    """Write the evidence of every best buddy of two models, and that of every unit of the first.

    Args:
        correlations: Correlations of the models, with decoys.
        buddies: Table of their best buddies.
        moments: Moments of both models.
        sums: Sums over images of these pairs (evidence.image_sums).
        output: X.csv to write; that of units goes to units/X.csv beside it.
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
    refuse_mixed(
        {
            correlations: models,
            buddies: models,
            moments[0]: models[:1],
            moments[1]: models[1:],
            sums: models,
        }
    )
    copies = open_untrained(correlations, untrained)
    sample_set = read_manifest(correlations)["sample_set"]
    of_layers = open_covariances(covariances, models, trees, sample_set) if covariances else None
    parts = PartsOfPairs(trees)
    decoys = decoys_of(table, parts, neighbours)
    found = evidence_of(
        table,
        pairs,
        parts,
        of_images,
        neighbours,
        decoys=decoys,
        untrained=copies,
        settings=settings,
        covariances=of_layers,
    )
    left = with_left(pairs, parts, similarity_of(table.attrs))
    units = unit_p_values(_units(table, "a"), left, decoys)
    for kind, of, path in (
        (KIND_OF_UNITS, units, table_of_units(output)),
        (KIND, found, output),
    ):
        write_table(of, path, Provenance(kind, models, sample_set, made_of, identity))


def evidence_of(
    correlations: xr.Dataset,
    pairs: pd.DataFrame,
    parts: PartsOfPairs,
    of_images: xr.Dataset,
    neighbours: int,
    *,
    decoys: Sequence[pd.DataFrame] | None = None,
    untrained: Sequence[xr.Dataset] = (),
    settings: Evidence = DEFAULTS,
    covariances: xr.DataTree | None = None,
) -> pd.DataFrame:
    """The evidence of best buddies, a row a pair: columns EVIDENCE of matching.tables.

    Args:
        correlations: Correlations of both models, with or without decoys and splits.
        pairs: Their best buddies.
        parts: What the moments of both models say of their pairs.
        of_images: Sums over images of the pairs, in their order.
        neighbours: K.
        decoys: As `decoys_of` gives them; None has them computed.
        untrained: Correlations of the first model with untrained copies of the second.
        settings: How evidence is computed and judged.
        covariances: Of the second model, of each layer; None leaves their columns empty.
    """
    found = pd.DataFrame(np.nan, pairs.index, list(EVIDENCE)).astype({"verdict": object})
    found[PAIR] = pairs[PAIR]
    if pairs.empty:
        return found
    of_pairs = parts.of(pairs)
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
    images = of_images.sizes["image"]
    if decoys is None:
        decoys = decoys_of(correlations, parts, neighbours)
    if decoys and len(pairs) * settings.level < 1:
        _leave_empty(
            f"{len(pairs)} pairs are too few for q to reach {settings.level}: "
            f"{ceil(1 / settings.level)} would do",
            "q and q_place",
        )
    elif decoys:
        found["q"] = q_values(r, [decoy["correlation"].to_numpy() for decoy in decoys])
        left = with_left(pairs, parts, similarity)["left"].to_numpy()
        found["q_place"] = q_values(left, [decoy["left"].to_numpy() for decoy in decoys])
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
        columns = _spread(correlations, pairs, parts.moments, covariances)
        found[list(columns)] = columns
    if untrained:
        found["untrained_excess"] = excess(correlations, pairs, untrained)
    if similarity.about is None:
        found[OF_CORRELATIONS] = np.nan
        _leave_empty(f"What was mined is {similarity.title}", ", ".join(OF_CORRELATIONS))
    found["verdict"] = verdicts(failures(found, settings.level))
    return found


def decoys_of(correlations: xr.Dataset, parts: PartsOfPairs, neighbours: int) -> list[pd.DataFrame]:
    """Best buddies of every decoy, mined as the pairs are.

    Args:
        correlations: Correlations of both models.
        parts: What the moments of both models say of their pairs.
        neighbours: K.

    Returns:
        As `with_left`; none where decoys could not move most images, which is said on stderr.
    """
    images, stay = correlations.attrs["images"], correlations.attrs.get("decoy_images_that_stay", 0)
    if 2 * stay > images:
        _leave_empty(
            f"decoys could move {images - stay} of {images} images only, because the others are "
            "alone in their class among those read at once. A larger correlation.images_per_block, "
            "or fewer classes, would do",
            "q, q_place and p of units",
        )
        return []
    similarity = similarity_of(correlations.attrs)
    mined = [table_of(decoy, neighbours) for decoy in decoy_stores(correlations)]
    return [with_left(pairs, parts, similarity) for pairs in mined]


def with_left(pairs: pd.DataFrame, parts: PartsOfPairs, similarity: Similarity) -> pd.DataFrame:
    """Pairs with a column `left`: what is left of their r without mean maps.

    Args:
        pairs: Units of both models and their correlation.
        parts: What the moments of both models say of their pairs.
        similarity: What was mined. Where it is no correlation about means, `left` is its value.
    """
    values = pairs["correlation"].to_numpy()
    if similarity.about == MEAN and len(pairs):
        values = correlation_left(values, parts.of(pairs))
    return pairs.assign(left=values)


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
    # Off by default, and torch takes two seconds to import.
    from rosetta_steps.evidence.spread import spread_of

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


def _units(table: xr.Dataset, side: str) -> pd.DataFrame:
    layers, channels = table[f"layer_{side}"].values.astype(str), table[f"channel_{side}"].values
    return pd.DataFrame({"layer": layers, "channel": channels})


def _values(table: xr.Dataset, pairs: pd.DataFrame) -> np.ndarray:
    rows = []
    for side in "ab":
        units = pd.MultiIndex.from_frame(_units(table, side))
        rows.append(
            units.get_indexer(pd.MultiIndex.from_frame(pairs[[f"layer_{side}", f"channel_{side}"]]))
        )
    return table["correlation"].values[rows[0], rows[1]]
