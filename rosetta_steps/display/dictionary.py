"""The page of a dictionary and its pictures, written whole or not at all."""

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from rosetta_steps.display import heatmaps
from rosetta_steps.display.exemplars import Concept, Example, Unit, choose_examples
from rosetta_steps.display.page import KEY, PICTURES, heatmap_name, image_name, page
from rosetta_steps.display.reading import (
    Dictionary,
    read_images,
    read_maps,
    unit_maxima,
    unit_ranges,
)
from rosetta_steps.display.trust import TRUST, trust_page
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.files import explain_full_disk
from rosetta_steps.storage.leftovers import partial

# WebP, because every browser shows it and it keeps heatmaps this small without visible blocks
WEBP: dict[str, Any] = {"format": "WEBP", "quality": 84, "method": 2}


def write_page(
    dictionary: Dictionary,
    output: Path,
    *,
    top: int = 3,
    middle: int = 2,
    low: int = 1,
    picture_size: int = 128,
    settings: str = "",
    identity: str = "",
) -> None:
    """Write the page and its pictures, whole or not at all.

    Args:
        dictionary: The opened inputs; a table of zero rows gives a page that says why.
        output: The page. Its pictures go into concepts/ beside it, which is replaced, and what
            survives each test into trust.html, where there is evidence.
        top: Example images per concept where the generator's unit responds most.
        middle: Around the median.
        low: Where it responds least.
        picture_size: Longer side of a picture in pixels.
        settings: What else the dictionary was mined with, in words.
        identity: What the page follows from; storage.manifests.identity_recorded reads it there.

    Raises:
        ValueError: No example image was asked for.
        StoreError: The disk is full.
    """
    if top + middle + low < 1 or min(top, middle, low) < 0:
        raise UserError(
            f"{output}: top, middle and low examples are {top}, {middle} and {low}; "
            "ask for at least one, and for none below zero."
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    building = partial(output)
    try:
        with explain_full_disk(output):
            (building / PICTURES).mkdir(parents=True)
            units = [concept.generator_unit for concept in dictionary.concepts]
            maxima = unit_maxima(dictionary.maps, units, dictionary.images)
            examples = concept_examples(dictionary, maxima, top=top, middle=middle, low=low)
            size = write_pictures(dictionary, examples, building, picture_size)
            if dictionary.evidence:
                text = trust_page(
                    dictionary.generator,
                    dictionary.evidence,
                    dictionary.table,
                    of_units=dictionary.evidence_of_units,
                    untrained=dictionary.untrained,
                )
                (building / TRUST).write_text(text, encoding="utf-8")
            (building / output.name).write_text(
                page(dictionary, examples, size, settings, identity), encoding="utf-8"
            )
            _put_in_place(building, output)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def concept_examples(
    dictionary: Dictionary,
    maxima: Mapping[Unit, np.ndarray],
    *,
    top: int,
    middle: int,
    low: int,
) -> dict[int, list[Example]]:
    """Choose the example images of every concept, by its generator unit.

    Args:
        dictionary: The opened inputs.
        maxima: Maximum over positions of at least these units, (image).
        top: Images of the greatest response.
        middle: Images around the median.
        low: Images of the least response.

    Returns:
        Per number of a concept its examples by rank.
    """
    units = [concept.generator_unit for concept in dictionary.concepts]
    ranges = unit_ranges(dictionary.moments, units)
    return {
        concept.number: choose_examples(
            maxima[concept.generator_unit],
            ranges[concept.generator_unit],
            top=top,
            middle=middle,
            low=low,
        )
        for concept in dictionary.concepts
    }


# --- pictures -------------------------------------------------------------------------------------


def write_pictures(
    dictionary: Dictionary,
    examples: Mapping[int, Sequence[Example]],
    folder: Path,
    picture_size: int,
) -> tuple[int, int]:
    """Write the example images, the heatmaps over them and the colour key.

    Args:
        dictionary: The opened inputs.
        examples: Per number of a concept its examples.
        folder: Where the page will lie; its folder of pictures exists.
        picture_size: Longer side of a picture in pixels.

    Returns:
        Height and width of the pictures in pixels.
    """
    samples = dictionary.samples["image"]
    size = heatmaps.display_size((samples.sizes["y"], samples.sizes["x"]), picture_size)
    _save(heatmaps.colour_key(14, 280), folder / KEY)
    images = read_images(
        dictionary.samples, (example.image for chosen in examples.values() for example in chosen)
    )
    greys = {}
    for index, image in images.items():
        resized = heatmaps.resize_image(image, size)
        _save(heatmaps.to_bytes(resized), folder / image_name(index))
        greys[index] = resized @ heatmaps.LUMA
    units = {unit for concept in dictionary.concepts for unit in concept.units}
    ranges = unit_ranges(dictionary.moments, units)
    maps = read_maps(
        dictionary.maps,
        (
            (unit, example.image)
            for concept in dictionary.concepts
            for unit in concept.units
            for example in examples[concept.number]
        ),
    )

    def draw(concept: Concept) -> None:
        for column, unit in enumerate(concept.units):
            for example in examples[concept.number]:
                path = folder / heatmap_name(concept, column, example.image)
                save_heatmap(maps[unit, example.image], ranges[unit], greys[example.image], path)

    concepts = dictionary.concepts
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # encoding a picture frees the interpreter
        list(tqdm(pool.map(draw, concepts), "pictures", len(concepts), unit="concept"))
    return size


def save_heatmap(
    plane: np.ndarray, unit_range: tuple[float, float], grey: np.ndarray, path: Path
) -> None:
    """Write a map (y, x) over a grey image (y, x); its colours are of the unit's range."""
    _save(heatmaps.overlay(plane, unit_range, grey), path)


def _save(picture: np.ndarray, path: Path) -> None:
    Image.fromarray(picture).save(path, **WEBP)


def _put_in_place(building: Path, output: Path) -> None:
    """Move a finished page and its pictures to their places.

    A page stands only beside its own pictures: the old one goes first, the new one comes last.
    """
    output.unlink(missing_ok=True)
    pictures = output.with_name(PICTURES)
    if pictures.exists():
        os.replace(pictures, building / "replaced")
    os.replace(building / PICTURES, pictures)
    trust = output.with_name(TRUST)
    trust.unlink(missing_ok=True)
    if (building / TRUST).exists():
        os.replace(building / TRUST, trust)
    os.replace(building / output.name, output)
