"""A page of what two generators have in common, through the models that were mined with both."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rosetta_steps.display.dictionary import concept_examples, write_pictures
from rosetta_steps.display.drawing import save_figures
from rosetta_steps.display.exemplars import Concept, Unit
from rosetta_steps.display.links import links_figure
from rosetta_steps.display.page import KEY, PICTURES
from rosetta_steps.display.reading import Dictionary, open_dictionary, unit_maxima
from rosetta_steps.evidence.links import ONLY_HERE, PAIR, Leg, Linked, linked
from rosetta_steps.evidence.verdicts import passed
from rosetta_steps.matching.identity import unit_name
from rosetta_steps.matching.tables import read_evidence, write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.manifests import read_manifest, refuse_not_made_of
from rosetta_steps.website.folders import folder_of, whole_folder
from rosetta_steps.website.pictures import picture_rows
from rosetta_steps.website.templates import rendered

WRITER = "rosetta_steps.links"
SIDES = ("first", "second")  # folders of pictures
IMAGES = 3  # of each unit, where it responds most
PAIRS_SHOWN, ALONE_SHOWN = 60, 24  # nobody looks at more; all are in the tables
PICTURE_SIZE = 112


@dataclass(frozen=True, kw_only=True)
class Mined:
    """A sample set that was mined.

    Attributes:
        name: Of the sample set.
        dictionary: Its opened inputs.
        legs: What its generator has in each model.
    """

    name: str
    dictionary: Dictionary
    legs: Mapping[str, Leg]


# --- opening --------------------------------------------------------------------------------------


def open_mined(table: Path, samples: Path, of: Mapping[str, Sequence[Path]]) -> Mined:
    """Open what was mined on a sample set.

    Args:
        table: Its rosetta.csv.
        samples: Its images.
        of: Stores and tables of each model: maps, moments, evidence, correlations.

    Raises:
        StoreError: An input is not finished, damaged, or does not belong to the others.
    """
    refuse_not_made_of([*of["correlations"], *of["evidence"]], samples)
    dictionary = open_dictionary(table, samples, of["maps"], of["moments"], evidence=of["evidence"])
    evidence = {read_manifest(path)["models"][1]: path for path in of["evidence"]}
    legs = {}
    for store in of["correlations"]:
        first, model = read_manifest(store)["models"]
        if model not in evidence:
            raise UserError(f"{store} has no table in --evidence: give that of {model} as well.")
        legs[model] = open_leg(store, read_evidence(evidence[model], [first, model]))
    return Mined(name=read_manifest(table)["sample_set"], dictionary=dictionary, legs=legs)


def open_leg(correlations: Path, evidence: pd.DataFrame) -> Leg:
    """Read what a generator has in a model.

    Args:
        correlations: Of both.
        evidence: Of their best buddies.
    """
    with open_dataset(correlations) as store:
        units = [
            pd.MultiIndex.from_arrays(
                [store[f"layer_{side}"].values.astype(str), store[f"channel_{side}"].values],
                names=["layer", "channel"],
            )
            for side in "ab"
        ]
        whole = store["correlation"].values if "correlation" in store else None
    return Leg(own=units[0], units=units[1], correlation=whole, buddies=evidence[passed(evidence)])


def by_sample_set(paths: Iterable[Path], names: Sequence[str]) -> list[list[Path]]:
    """Sort stores or tables by the sample set that they are of.

    Raises:
        ValueError: One is of another sample set.
    """
    found: dict[str, list[Path]] = {name: [] for name in names}
    for path in paths:
        name = read_manifest(path)["sample_set"]
        if name not in found:
            raise UserError(f"{path} is of sample set {name}, not of {' or '.join(names)}.")
        found[name].append(path)
    return list(found.values())


# --- what is shown --------------------------------------------------------------------------------


def shown_pairs(found: Linked, models: Sequence[str], level: float) -> pd.DataFrame:
    """Pairs of concepts that are certain, of each concept its best; PAIRS_SHOWN at most.

    Args:
        found: All pairs.
        models: Those whose maps are there: one of them has to link a pair.
        level: Of q.

    Returns:
        Rows of LINKED_PAIRS, the most certain first.
    """
    drawn = found.links[found.links["model"].isin(models)]
    can_be_drawn = pd.MultiIndex.from_frame(found.pairs[PAIR]).isin(
        pd.MultiIndex.from_frame(drawn[PAIR])
    )
    of_concepts = (found.pairs[["concept_id_a", "concept_id_b"]] != "").all(axis=1)
    pairs = found.pairs[(found.pairs["q"] <= level) & of_concepts & can_be_drawn]
    chosen: list[int] = []
    used: set[tuple[str, str]] = set()
    for row in pairs.itertuples():
        both = {("a", row.concept_id_a), ("b", row.concept_id_b)}
        if not both & used and len(chosen) < PAIRS_SHOWN:
            chosen.append(row.Index)
            used |= both
    return pairs.loc[chosen]


def alone(found: Linked, dictionary: Dictionary, side: str) -> list[Concept]:
    """Concepts of a generator of which no unit is linked, the strongest first."""
    units = found.units[found.units["side"] == side]
    linked_concepts = set(units[units["status"] != ONLY_HERE]["concept_id"])
    return [one for one in dictionary.concepts if one.id not in linked_concepts]


def _way(found: Linked, pair, models: Sequence[str]) -> pd.DataFrame:
    """The links of a pair, the strongest of a model whose maps are there first."""
    rows = found.links
    for column in PAIR:
        rows = rows[rows[column] == getattr(pair, column)]
    rows = rows.assign(drawn=rows["model"].isin(models))
    return rows.sort_values(["drawn", "strength"], ascending=False, kind="stable")


def _small_concept(number: int, dictionary: Dictionary, side: str, pair, way) -> Concept:
    """The two units of one generator's half of a link, as write_pictures draws them."""
    layer, channel = getattr(pair, f"layer_{side}"), int(getattr(pair, f"channel_{side}"))
    return Concept(
        id=unit_name(layer, channel),
        number=number,
        strength=float(way.strength),
        generator_unit=Unit(dictionary.generator, layer, channel),
        model_units=(Unit(way.model, way.layer, int(way.channel)),),
        correlations=(float(getattr(way, f"correlation_{side}")),),
        members=dictionary.table[:0],
        generator_units=1,
    )


# --- writing --------------------------------------------------------------------------------------


def write_links(mined: Sequence[Mined], output: Path, *, level: float, identity: str = "") -> None:
    """Write the page, its figure and its tables.

    Args:
        mined: Both sample sets.
        output: Folder to write; one that was written by this step is replaced.
        level: Of q, up to which a link is common.
        identity: What the page follows from.

    Raises:
        ValueError: No model was mined with both, or with other layers, or there is something else
            in the place of the folder.
        StoreError: The disk is full.
    """
    first, second = mined
    models = [model for model in first.legs if model in second.legs]
    legs = {model: (first.legs[model], second.legs[model]) for model in models}
    found = linked(legs, [one.dictionary.table for one in mined], level=level)
    with whole_folder(output, WRITER, ["site.css"]) as building:
        for side in SIDES:
            (building / side / PICTURES).mkdir(parents=True)
        values = _values(mined, found, models, level, building)
        (building / SIDES[1] / KEY).unlink()  # the page shows the first one
        text = rendered(
            "linked.html", "", **values, identity=identity, level=level, counts=found.counts
        )
        (building / "index.html").write_text(text, encoding="utf-8")
        tables = {"links": found.links, "pairs": found.pairs, "units": found.units}
        for name, table in tables.items():
            write_table(table, building / f"{name}.csv")
        layers = [list(dict.fromkeys(leg.own.get_level_values(0))) for leg in legs[models[0]]]
        figure = links_figure(found, [one.name for one in mined], layers, level)
        save_figures({building / "links": figure}, identity)


def _values(
    mined: Sequence[Mined], found: Linked, models: Sequence[str], level: float, folder: Path
) -> dict:
    """What the page says; its pictures are written into a folder."""
    drawn = [m for m in models if all(m in one.dictionary.maps for one in mined)]
    pairs = list(shown_pairs(found, drawn, level).itertuples(index=False))
    ways = [list(_way(found, pair, drawn).itertuples(index=False)) for pair in pairs]
    links = list(zip(pairs, ways, strict=True))
    sides = [
        _side(one, found, side, links, folder / name)
        for one, side, name in zip(mined, "ab", SIDES, strict=True)
    ]
    rows = [
        {"pair": pair, "ways": way, "cells": [side["cells"][place] for side in sides]}
        for place, (pair, way) in enumerate(links)
    ]
    return {
        "generator": " and ".join(one.dictionary.generator for one in mined),
        "shared": models,
        "models": [],
        "sides": sides,
        "rows": rows,
        "key": f"{SIDES[0]}/{KEY}",
    }


def _side(
    mined: Mined, found: Linked, side: str, links: Sequence[tuple], folder: Path
) -> dict[str, Any]:
    """What the page shows of one generator: its half of the links, and what it has alone."""
    dictionary = mined.dictionary
    common = [
        _small_concept(number, dictionary, side, pair, ways[0])
        for number, (pair, ways) in enumerate(links, 1)
    ]
    without = alone(found, dictionary, side)
    only = [
        replace(concept.of_models([int(np.argmax(concept.correlations))]), number=number)
        for number, concept in enumerate(without[:ALONE_SHOWN], len(common) + 1)
    ]
    shown = replace(dictionary, concepts=[*common, *only])
    units = [one.generator_unit for one in shown.concepts]
    maxima = unit_maxima(dictionary.maps, units, dictionary.images)
    examples = concept_examples(shown, maxima, top=IMAGES, middle=0, low=0)
    height, width = write_pictures(shown, examples, folder, PICTURE_SIZE)
    cells = {
        one.number: picture_rows(one, examples[one.number], f"{folder.name}/")
        for one in shown.concepts
    }
    status = found.units[found.units["side"] == side]["status"].value_counts()
    return {
        "name": mined.name,
        "generator": dictionary.generator,
        "images": dictionary.images,
        "status": {key: int(value) for key, value in status.items()},
        "cells": [cells[one.number] for one in common],
        "alone": [{"concept": one, "cells": cells[one.number]} for one in only],
        "alone_count": len(without),
        "width": width,
        "height": height,
    }


def carry_out(a: argparse.Namespace) -> None:
    """Write the page that a command line asks for."""
    output = folder_of(a.output, WRITER)
    names = [read_manifest(path)["sample_set"] for path in a.tables]
    if names[0] == names[1]:
        raise UserError(f"both --tables are of sample set {names[0]}: give those of two.")
    kinds = {kind: by_sample_set(getattr(a, kind), names)
             for kind in ("maps", "moments", "evidence", "correlations")}  # fmt: skip
    mined = [
        open_mined(table, samples, {kind: paths[place] for kind, paths in kinds.items()})
        for place, (table, samples) in enumerate(zip(a.tables, a.samples, strict=True))
    ]
    write_links(mined, output, level=a.level, identity=a.identity or "")
