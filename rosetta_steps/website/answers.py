"""The units that a question across the zoo finds, as a page with their images."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rosetta_steps.display.dictionary import concept_examples, write_pictures
from rosetta_steps.display.exemplars import Concept, Unit
from rosetta_steps.display.page import KEY, PICTURES
from rosetta_steps.display.reading import Dictionary, unit_maxima
from rosetta_steps.display.shared import Answer, answer, show
from rosetta_steps.evidence.partners import YES
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.identity import unit_name
from rosetta_steps.matching.tables import DICTIONARY
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset, open_tree
from rosetta_steps.website.folders import folder_of, whole_folder
from rosetta_steps.website.pictures import picture_rows
from rosetta_steps.website.templates import rendered

WRITER = "rosetta_steps.shared"
IMAGES, PICTURE_SIZE = 4, 112  # images of most response of each unit, and their longer side


def carry_out(a: argparse.Namespace) -> None:
    """Answer the question of a command line, on screen and as files where these are asked for."""
    folder = folder_of(a.page, WRITER) if a.page else None
    found = answer(a)
    show(found.units, a.first, a.output)
    if folder:
        write_answer(found, Path("results"), folder, first=a.first)


def write_answer(found: Answer, results: Path, output: Path, *, first: int) -> None:
    """Write a page of the first units of an answer: where each responds most, and its partners.

    Args:
        found: The answer.
        results: Folder of results, which has the maps of every unit.
        output: Folder to write; one that was written so is replaced.
        first: Number of units.

    Raises:
        ValueError: Only maps of matched units are kept, or there is something else in the place of
            the folder.
        StoreError: A store is damaged, or the disk is full.
    """
    concepts = [
        _concept(found, number, row)
        for number, row in enumerate(found.units.head(first).itertuples(index=False), 1)
    ]
    opened = _opened(found, results, concepts)
    units = [one.generator_unit for one in concepts]
    maxima = unit_maxima(opened.maps, units, opened.images)
    examples = concept_examples(opened, maxima, top=IMAGES, middle=0, low=0)
    with whole_folder(output, WRITER, ["site.css"]) as building:
        (building / PICTURES).mkdir(parents=True)
        height, width = write_pictures(opened, examples, building, PICTURE_SIZE)
        text = rendered(
            "answer.html", "", identity="", generator=found.sample_set, models=[], key=KEY,
            question=found.question, order=found.order, model=found.model, others=found.others,
            units=[
                {
                    "id": one.id,
                    "correlations": list(
                        zip(found.others, one.correlations, strict=True)
                    ),
                    "buddies": [
                        _row_of(found, other, *_unit(one)).best_buddy == YES
                        for other in found.others
                    ],
                    "rows": picture_rows(one, examples[one.number], ""),
                }
                for one in concepts
            ],
            left_out=len(found.units) - len(concepts),
            side={"name": found.sample_set, "width": width, "height": height},
        )  # fmt: skip
        (building / "index.html").write_text(text, encoding="utf-8")


def _concept(found: Answer, number: int, row) -> Concept:
    """A unit with its nearest partner in each other model, as write_pictures draws it."""
    own = [_row_of(found, other, row.layer, row.channel) for other in found.others]
    partners = [
        Unit(other, one.partner_layer, int(one.partner_channel))
        for other, one in zip(found.others, own, strict=True)
    ]
    return Concept(
        id=unit_name(row.layer, row.channel),
        number=number,
        strength=max(float(one.correlation) for one in own),
        generator_unit=Unit(found.model, row.layer, int(row.channel)),
        model_units=tuple(partners),
        correlations=tuple(float(one.correlation) for one in own),
        members=pd.DataFrame(columns=list(DICTIONARY)),
        generator_units=1,
    )


def _unit(concept: Concept) -> tuple[str, int]:
    return concept.generator_unit.layer, concept.generator_unit.channel


def _row_of(found: Answer, other: str, layer: str, channel: int):
    """What the table of a pair of models says of a unit."""
    table = found.tables[found.model if other == found.generator else other]
    mine = table[
        (table["model"] == found.model) & (table["layer"] == layer) & (table["channel"] == channel)
    ]
    return next(mine.itertuples(index=False))


def _opened(found: Answer, results: Path, concepts: Sequence[Concept]) -> Dictionary:
    everyone = [found.model, *found.others]
    folder = results / "activations" / found.sample_set
    if absent := [name for name in everyone if not (folder / f"{name}.zarr").is_dir()]:
        raise UserError(
            f"{folder} has no maps of {absent[0]}: those of units without a best buddy are kept "
            "with `store: all` alone. Leave --page out, or mine the sample set with it."
        )
    moments = results / "moments" / found.sample_set
    return Dictionary(
        table=pd.DataFrame(columns=list(DICTIONARY)),
        concepts=list(concepts),
        generator=found.model,
        models=list(found.others),
        all_models=len(found.others),
        samples=open_dataset(results / "samples" / f"{found.sample_set}.zarr"),
        maps={name: MapReader(folder / f"{name}.zarr") for name in everyone},
        moments={name: open_tree(moments / f"{name}.zarr") for name in everyone},
        made_of={},
    )
