"""Figures 2 and 3: concepts as heatmaps over images, drawn for print."""

import math
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from rosetta_steps.display import heatmaps
from rosetta_steps.display.choices import choose_distinct, choose_images, peaks
from rosetta_steps.display.drawing import (
    DOTS_PER_INCH,
    GAP,
    LINE,
    SMALL,
    STYLE,
    TALLEST,
    WIDTH,
    can_be_written,
    draw_foot,
    draw_picture,
    folded,
    new_figure,
    save_figures,
    wrapped,
    write_text,
    write_title,
)
from rosetta_steps.display.exemplars import Concept
from rosetta_steps.display.panels import empty_figure, letters_in
from rosetta_steps.display.reading import (
    Dictionary,
    file_label,
    read_images,
    read_maps,
    unit_ranges,
)
from rosetta_steps.runtime.errors import UserError

MOST_CONCEPTS = 120  # in figure 2: what one page shows legibly


def figure3(dictionary: Dictionary, *, concepts: int = 4, images: int = 3) -> Figure:
    """Some concepts in all models on the same images, after figure 3 of the paper.

    Args:
        dictionary: The opened inputs.
        concepts: Number of concepts, see choose_distinct.
        images: Number of images, see choose_images.

    Returns:
        The figure; one that says why where there is no concept.
    """
    if not dictionary.concepts:
        return empty_figure()
    chosen = choose_distinct(dictionary, concepts)
    indices = choose_images(dictionary, chosen, images)
    pictures = read_images(dictionary.samples, indices)
    units = {unit for concept in chosen for unit in concept.units}
    ranges = unit_ranges(dictionary.moments, units)
    maps = read_maps(dictionary.maps, ((unit, index) for unit in units for index in indices))
    columns = 2 + len(dictionary.models)
    proportion = _proportion(pictures[indices[0]])
    # two blocks side by side while their pictures stay large enough to be read
    side = 2 if len(chosen) > 1 and columns <= 6 else 1
    between = 0.22
    rows = math.ceil(len(chosen) / side)
    cell = min(
        (WIDTH - (side - 1) * between) / (side * columns) - GAP,
        # about 0.75 inches of a block are text
        max((TALLEST / rows - 0.75) / (len(indices) * proportion) - GAP, 0.4),
        0.95,
    )
    # what names a unit: its model, its layer on one or two lines, its channel and correlation
    names = [[_unit_name(concept, column) for column in range(columns - 1)] for concept in chosen]
    letters = letters_in(cell + GAP)
    texts = [[wrapped(name, letters) for name in row] for row in names]
    head = LINE * 1.7 + 0.092 * max(len(text) for row in texts for text in row)
    block_width = columns * (cell + GAP)
    block_height = head + len(indices) * (cell * proportion + GAP)
    above = rows * block_height + (rows - 1) * 0.12
    width = side * block_width + (side - 1) * between
    labels = ", ".join(_image_label(dictionary, index, 40) for index in indices)
    # photos are named on lines of their own, because their names are long
    photos = folded(f"Photos, from top to bottom: {labels}.", letters_in(width))
    named = 0.1 * len(photos.split("\n")) if dictionary.files else 0.0
    figure = new_figure(width, above + named + 0.3)
    for place, concept in enumerate(tqdm(chosen, desc="figure 3", unit="concept")):
        left = (place % side) * (block_width + between)
        top = (place // side) * (block_height + 0.12)
        about = f"rank {concept.number}, strength {concept.strength:.2f}"
        write_title(figure, left, top + LINE, f"Concept {concept.id}", about)
        for row, index in enumerate(indices):
            y = top + head + row * (cell * proportion + GAP)
            dots = round(cell * DOTS_PER_INCH)
            size = heatmaps.display_size(pictures[index].shape[:2], dots)
            image = heatmaps.to_bytes(heatmaps.resize_image(pictures[index], size))
            draw_picture(figure, image, x=left, y=y, width=cell, height=cell * proportion)
            grey = heatmaps.grey_image(pictures[index], dots)
            for column, unit in enumerate(concept.units, start=1):
                x = left + column * (cell + GAP)
                picture = heatmaps.overlay(maps[unit, index], ranges[unit], grey)
                draw_picture(figure, picture, x=x, y=y, width=cell, height=cell * proportion)
        for column, lines in enumerate(texts[place], start=1):
            x = left + column * (cell + GAP)
            write_text(figure, x, top + head - 0.04, "\n".join(lines), size=SMALL, linespacing=1.2)
    if dictionary.files:
        write_text(figure, 0.0, above + named, photos, size=SMALL, linespacing=1.2)
    listed = "" if dictionary.files else f" Images {labels}."
    draw_foot(figure, f"Above a column: model, layer, channel, correlation r.{listed}")
    return figure


def figure2(dictionary: Dictionary, *, most: int = MOST_CONCEPTS) -> Figure:
    """The generator's heatmap of every concept on one image, after figure 2 of the paper.

    The image is the one on which the generator's units respond most on average.

    Args:
        dictionary: The opened inputs.
        most: Greatest number of concepts shown, the strongest ones.

    Returns:
        The figure; one that says why where there is no concept.
    """
    if not dictionary.concepts:
        return empty_figure()
    shown = dictionary.concepts[:most]
    index = int(np.argmax(peaks(dictionary, shown).mean(axis=0)))
    image = read_images(dictionary.samples, [index])[index]
    units = [concept.generator_unit for concept in shown]
    ranges = unit_ranges(dictionary.moments, units)
    maps = read_maps(dictionary.maps, ((unit, index) for unit in units))
    proportion = _proportion(image)
    columns = _columns(len(shown) + 1, max(len(concept.id) for concept in shown))
    rows = math.ceil((len(shown) + 1) / columns)
    cell = WIDTH / columns - GAP
    label = 0.12
    step = cell * proportion + label + GAP
    figure = new_figure(WIDTH, rows * step + 0.3)
    dots = round(cell * DOTS_PER_INCH)
    size = heatmaps.display_size(image.shape[:2], dots)
    grey = heatmaps.grey_image(image, dots)
    # The image itself is in the first place.
    tiles = [("image", heatmaps.to_bytes(heatmaps.resize_image(image, size)))]
    for concept in tqdm(shown, desc="figure 2", unit="concept"):
        unit = concept.generator_unit
        picture = heatmaps.overlay(maps[unit, index], ranges[unit], grey)
        tiles.append((concept.id, picture))
    # A name that is too long for its place would run into the next one.
    if max(len(name) for name, _ in tiles) > letters_in(cell):
        tiles[1:] = [(str(c.number), tile) for c, (_, tile) in zip(shown, tiles[1:], strict=True)]
    for place, (name, picture) in enumerate(tiles):
        x, y = (place % columns) * (cell + GAP), (place // columns) * step
        write_text(figure, x, y + label - 0.02, name, size=SMALL)
        draw_picture(figure, picture, x=x, y=y + label, width=cell, height=cell * proportion)
    total = len(dictionary.concepts)
    count = (
        f"All {total} concepts" if len(shown) == total else f"The first {most} of {total} concepts"
    )
    shown_image = _image_label(dictionary, index, 24)
    draw_foot(figure, f"{count} in order of strength, image {shown_image}.")
    return figure


# --- words ----------------------------------------------------------------------------------------


def _columns(tiles: int, letters: int) -> int:
    """Columns of a grid somewhat wider than high; fewer, at least 6, where names need the width."""
    most = min(max(math.ceil(math.sqrt(1.6 * tiles)), 6), 14)
    return next((n for n in range(most, 6, -1) if letters_in(WIDTH / n - GAP) >= letters), 6)


def _proportion(image: np.ndarray) -> float:
    """Height by width of an image, (y, x, rgb)."""
    return image.shape[0] / image.shape[1]


def _unit_name(concept: Concept, column: int) -> list[str]:
    """What stands above a column: model, layer, channel and correlation; column 0 the generator."""
    unit = concept.units[column]
    r = f", r {concept.correlations[column - 1]:.2f}" if column else ""
    return [unit.model, unit.layer, f"{unit.channel}{r}"]


def _image_label(dictionary: Dictionary, index: int, letters: int) -> str:
    """What an image is called: of photos its file, unless the font has no signs for it."""
    if not dictionary.files:
        return str(index)
    label = file_label(dictionary.files[index], letters)
    return label if can_be_written(label) else f"number {index}"


# --- files ----------------------------------------------------------------------------------------


def write_figures(
    dictionary: Dictionary,
    folder: Path,
    *,
    concepts: int = 4,
    images: int = 3,
    identity: str | None = None,
) -> list[Path]:
    """Write figure2 and figure3 as .pdf and .png, each file whole or not at all.

    Args:
        dictionary: The opened inputs.
        folder: Where to; made if it is not there.
        concepts: Number of concepts in figure 3.
        images: Number of images in figure 3.
        identity: As drawing.save_figures takes it.

    Returns:
        The files. The same inputs give the same bytes: no date is written into them.

    Raises:
        ValueError: Fewer than one concept or image was asked for.
    """
    if concepts < 1 or images < 1:
        raise UserError(
            f"{folder / 'figure3.pdf'}: {concepts} concepts on {images} images were asked for; "
            "ask for at least one of each."
        )
    with matplotlib.rc_context(STYLE):
        made = {
            folder / "figure2": figure2(dictionary),
            folder / "figure3": figure3(dictionary, concepts=concepts, images=images),
        }
        return save_figures(made, identity)
