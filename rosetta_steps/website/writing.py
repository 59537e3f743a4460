"""The files of a site, written whole or not at all."""

import argparse
import json
from pathlib import Path

import xarray as xr

from rosetta_steps.display.dictionary import concept_examples, write_pictures
from rosetta_steps.display.page import KEY, PICTURES
from rosetta_steps.display.reading import Dictionary, open_from_arguments, unit_maxima
from rosetta_steps.matching.tables import read_coverage, read_partners
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.manifests import read_manifest
from rosetta_steps.website.atlas import atlas
from rosetta_steps.website.content import Content, units_of
from rosetta_steps.website.folders import folder_of, whole_folder
from rosetta_steps.website.images import Images
from rosetta_steps.website.templates import pages

ASSETS = ("site.css", "site.js")
WRITER = "snakemake site"
# Of each concept, images of most response, around the median and of least.
TOP, MIDDLE, LOW, PICTURE_SIZE = 3, 2, 1, 128


def write_site(
    dictionary: Dictionary,
    content: Content,
    output: Path,
    *,
    settings: str,
    of_itself: xr.Dataset,
    identity: str = "",
) -> None:
    """Write all pages, pictures and data of a site.

    Args:
        dictionary: The opened inputs.
        content: What the pages say.
        output: Folder to write; one that is a site is replaced.
        settings: With what the dictionary was mined, in words.
        of_itself: Correlations of the generator with itself, for the atlas.
        identity: What the site follows from.

    Raises:
        ValueError: There is something else in the place of the folder.
        StoreError: The disk is full.
    """
    with whole_folder(output, WRITER, ASSETS) as building:
        # Pages share this folder: concepts/image-00012.webp, concepts/main.8-17.html.
        (building / PICTURES).mkdir(parents=True)
        size = write_pictures(dictionary, content.examples, building, PICTURE_SIZE)
        Images(content).draw(building, PICTURE_SIZE)
        shared = {
            "generator": dictionary.generator,
            "images": dictionary.images,
            "settings": settings,
            "identity": identity,
            "key": KEY,
            "width": size[1],
            "height": size[0],
            "models": content.models,
            "columns": content.columns,
            "badges": content.badges,
            "atlas": atlas(content, of_itself),
        }
        for path, text in pages(content, shared):
            target = building / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        (building / "data").mkdir()
        for name, rows in content.data().items():
            text = json.dumps(rows, indent=1, ensure_ascii=False)
            (building / "data" / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def carry_out(a: argparse.Namespace) -> None:
    """Write the site that a command line asks for."""
    output = folder_of(a.output, WRITER)
    dictionary = open_from_arguments(a)
    partners = {read_manifest(path)["models"][1]: read_partners(path) for path in a.partners}
    units = [unit for unit in units_of(dictionary) if unit.model in dictionary.maps]
    maxima = unit_maxima(dictionary.maps, units, dictionary.images)
    examples = concept_examples(dictionary, maxima, top=TOP, middle=MIDDLE, low=LOW)
    content = Content(dictionary, examples, partners, read_coverage(a.coverage), maxima)
    with open_dataset(a.correlations) as of_itself:
        write_site(
            dictionary,
            content,
            output,
            settings=a.settings,
            of_itself=of_itself,
            identity=a.identity or "",
        )
