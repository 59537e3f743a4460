"""The label of every unit of a dictionary: its best one, the score, and whether it stands.

What a unit does on an image is the mean of its map, as in the evidence's part `amount` and in the
paper of the tests (sanity); the largest value of a map says more of one position than of an image.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rosetta_steps.evidence.image_means import image_means
from rosetta_steps.labelling.chance import best_by_chance, p_and_q, scores_of
from rosetta_steps.labelling.sanity import COLUMNS, PASSING, falls, has_label
from rosetta_steps.labelling.scores import read_scores
from rosetta_steps.labelling.settings import OF_A_VERDICT, Labelling
from rosetta_steps.maps.channels import places_of
from rosetta_steps.maps.sources import MapSource, open_maps
from rosetta_steps.matching.tables import LABEL, LABELS, NUMBER, read_dictionary, write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_each
from rosetta_steps.storage.manifests import (
    Provenance,
    ingredients,
    read_manifest,
    refuse_not_made_of,
)

KIND = "labels"
UNIT = ["model", "layer", "channel"]
NO_LABEL = "no label: "
TYPES = {name: float for name, kind in LABELS.items() if kind == NUMBER} | {"images": "Int64"}
FEWEST = 10  # images that have a label, below which half of them say little


def units_of(table: pd.DataFrame) -> pd.DataFrame:
    """Every unit of a dictionary once, the generator's first: model, layer, channel.

    Args:
        table: Rows of rosetta.csv.
    """
    own = table[["generator", "generator_layer", "generator_channel"]].set_axis(UNIT, axis=1)
    return pd.concat([own, table[UNIT]]).drop_duplicates(ignore_index=True)


def values_of(units: pd.DataFrame, maps: dict[str, MapSource]) -> np.ndarray:
    """Mean of the map of each unit on every image, about its mean over images.

    Args:
        units: model, layer, channel.
        maps: Of each model, at least those of its units.

    Returns:
        (unit, image) float64.

    Raises:
        ValueError: The maps of a model, or of a unit, are not among them.
    """
    found = np.empty((len(units), next(iter(maps.values())).images))
    for model, of_model in units.groupby("model", sort=False):
        if model not in maps:
            raise UserError(f"--maps has no maps of {model}. Add its store.")
        source, layers = maps[model], dict(list(of_model.groupby("layer", sort=False)))
        places = {layer: places_of(source, layer, layers[layer]["channel"]) for layer in layers}
        means = image_means(source, {layer: [source.sizes[layer]] for layer in layers})
        for layer, rows in layers.items():
            at = [places[layer][channel] for channel in rows["channel"]]
            found[rows.index] = means[layer, source.sizes[layer]][at]
    return found


def labels_of(
    units: pd.DataFrame,
    values: np.ndarray,
    scores: np.ndarray,
    labels: Sequence[str],
    sources: Sequence[str],
    *,
    settings: Labelling,
) -> pd.DataFrame:
    """The best label of every unit, and whether it is one.

    Args:
        units: model, layer, channel.
        values: What each does on every image, (unit, image).
        scores: The labels on every image, (image, label).
        labels: Their names.
        sources: Where each is from.
        settings: When a label counts.

    Returns:
        A row a unit, LABELS of matching.tables. A label that is the same on all images is never the
        best; a unit that never varies has no best label.
    """
    r = scores_of(values, scores.T)
    varying, some = ~np.isnan(r).all(1), ~np.isnan(r).all(0)
    found = pd.DataFrame(index=range(len(units)), columns=list(LABELS)[len(UNIT) :])
    if varying.any() and some.any():
        best = _two_best(r[np.ix_(varying, some)], np.flatnonzero(some), labels, sources)
        tested = _tested(values[varying], scores, np.flatnonzero(some), best.pop("at"), settings)
        best = best.join(tested)
        best["verdict"] = [verdict(row, settings) for row in best.itertuples()]
        found.loc[varying, best.columns] = best.to_numpy()
    texts = dict.fromkeys(("best_label", "source", "runner_up"), "")
    why = "never varies" if some.any() else "no label varies"
    found = found.fillna(texts | {"verdict": f"{NO_LABEL}{why}"})
    return units.reset_index(drop=True).join(found).astype(TYPES)


def _two_best(
    r: np.ndarray, varying: np.ndarray, labels: Sequence[str], sources: Sequence[str]
) -> pd.DataFrame:
    """Best label and runner-up of every unit, and the place of the best among all labels."""
    order = np.argsort(-r, axis=1, kind="stable")[:, :2]
    scores, places = np.take_along_axis(r, order, 1), varying[order]
    named, origins = np.array(labels, object)[places], np.array(sources, object)[places]
    found = {"at": places[:, 0], "best_label": named[:, 0], "source": origins[:, 0]}
    if r.shape[1] > 1:
        found |= {"runner_up": named[:, 1], "runner_up_score": scores[:, 1]}
    return pd.DataFrame(found)


def _tested(
    units: np.ndarray, scores: np.ndarray, varying: np.ndarray, best: pd.Series, settings: Labelling
) -> pd.DataFrame:
    """The best label of every unit against chance, and with labels missing and extra ones."""
    chance = best_by_chance(units, scores.T[varying], settings.permutations)
    found = pd.DataFrame(index=best.index, columns=["score", "images", *COLUMNS], dtype=float)
    for label, rows in best.groupby(best):
        own, values = units[rows.index], scores[:, label]
        found.loc[rows.index, "score"] = scores_of(own, values[None])[:, 0]
        found.loc[rows.index, "images"] = has_label(values).sum()
        found.loc[rows.index, list(COLUMNS)] = np.stack(list(falls(own, values).values()), 1)
    found["p"], found["q"] = p_and_q(found["score"].to_numpy(), chance)
    found["by_chance"] = np.quantile(chance, 1 - settings.level, axis=1)
    return found


def verdict(row, settings: Labelling) -> str:
    """Whether the best label of a unit is one: LABEL, or "no label: " and what speaks against it.

    Args:
        row: Of the unit: score, p, q, images, missing_falls, extra_falls, as LABELS has them.
        settings: When a label counts.
    """
    above_chance = row.p <= settings.level and row.q <= settings.level
    against = {
        "weak": row.score < settings.min_score,
        "chance": not above_chance,
        "few images": row.images < FEWEST,
        "missing labels": row.missing_falls < PASSING,
        "extra labels": row.extra_falls < PASSING,
    }
    failed = [words for words, fails in against.items() if fails]
    return f"{NO_LABEL}{', '.join(failed)}" if failed else LABEL


def write_labels(
    table: Path,
    maps: Sequence[Path],
    scores: Sequence[Path],
    samples: Path,
    output: Path,
    *,
    settings: Labelling,
    identity: str | None = None,
) -> None:
    """Write the label of every unit of a dictionary.

    Args:
        table: rosetta.csv.
        maps: Maps of generator and models, at least those of matched units.
        scores: Labels on every image.
        samples: Store of the images.
        output: X.csv to write.
        settings: When a label counts.
        identity: Identity of the result, as Provenance takes it.

    Raises:
        StoreError: An input is damaged, or they do not belong together.
        ValueError: The maps of a model are not among them.
    """
    refuse_not_made_of([table, *maps, *scores], samples)
    made_of = ingredients([table, *maps, *scores, samples])
    state = read_manifest(table)
    units = units_of(read_dictionary(table))
    readers = {str(reader.attrs["model"]): reader for reader in open_each(open_maps, maps)}
    found = labels_of(units, values_of(units, readers), *read_scores(scores), settings=settings)
    provenance = Provenance(KIND, state["models"], state["sample_set"], made_of, identity)
    write_table(found, output, provenance)
    print(summary(found))


def summary(table: pd.DataFrame) -> str:
    """How many units have a label, and why the others have none, in a line."""
    labelled = int((table["verdict"] == LABEL).sum())
    against = table["verdict"][table["verdict"] != LABEL].value_counts()
    why = "".join(f"; {words} {count}" for words, count in against.items())
    return f"{labelled} of {len(table)} units have a label{why}"


def carry_out(a: argparse.Namespace) -> None:
    """Write the labels that a command line asks for."""
    write_labels(
        a.table,
        a.maps,
        a.scores,
        a.samples,
        a.output,
        settings=Labelling(**{name: getattr(a, name) for name in OF_A_VERDICT}),
        identity=a.identity,
    )
