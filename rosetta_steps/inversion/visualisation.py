"""Images optimised for one pair of units, and figure 1."""

import argparse
import copy
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
import xarray as xr
from matplotlib.figure import Figure
from tqdm import tqdm

from rosetta_steps.config.options import options_from
from rosetta_steps.display import heatmaps
from rosetta_steps.display.choices import choose_distinct
from rosetta_steps.display.drawing import (
    GAP,
    LINE,
    SMALL,
    TALLEST,
    WIDTH,
    folded,
    new_figure,
    save_figures,
    wrapped,
    write_text,
    write_title,
)
from rosetta_steps.display.exemplars import EMPTY_REASON, Concept, choose_concepts
from rosetta_steps.display.panels import (
    SPACED,
    STRIP,
    draw_heatmap,
    draw_image,
    draw_key,
    empty_figure,
    foot_height,
    letters_in,
    number,
    proportion,
    write_lines,
)
from rosetta_steps.display.reading import (
    Dictionary,
    by_model,
    open_from_arguments,
    read_images,
    read_maps,
    unit_maxima,
    unit_ranges,
)
from rosetta_steps.inversion.arms import write_empty
from rosetta_steps.inversion.choices import units_of_concepts
from rosetta_steps.inversion.inverter import Inverter
from rosetta_steps.inversion.matches import COLUMNS
from rosetta_steps.inversion.objective import TERMS
from rosetta_steps.inversion.settings import CONCEPTS, Settings
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import (
    Provenance,
    digest_of_artefact,
    ingredients,
    read_manifest,
)
from rosetta_steps.zoo.entries import entry_digest, suggestion

# --- which ----------------------------------------------------------------------------------------


def concepts_named(dictionary: Dictionary, ids: Sequence[str]) -> list[Concept]:
    """Concepts by their ids, in the order given, each once.

    Raises:
        ValueError: There is no such concept: names the one meant, or the nearest.
    """
    units_of_concepts(ids, dictionary.table, dictionary.generator)  # refuses unknown ones
    known = {concept.id: concept for concept in dictionary.concepts}
    return [known[name] for name in dict.fromkeys(ids)]


def concepts_of_units(dictionary: Dictionary, names: Sequence[str]) -> list[Concept]:
    """Units of the generator by their names, each as a concept that it alone represents.

    Args:
        dictionary: The opened inputs.
        names: Such as main.2:17, or dcgan-digiface:main.2:17.

    Returns:
        In the order given, each once; `id` is that of the concept it is a member of.

    Raises:
        ValueError: A name is none, or the dictionary has no such unit: names the nearest.
    """
    found = []
    for name in dict.fromkeys(name.removeprefix(f"{dictionary.generator}:") for name in names):
        layer, _, channel = name.rpartition(":")
        if not layer or not channel.isdigit():
            raise UserError(
                f"'{name}' names no unit of {dictionary.generator}: write layer:channel, such as "
                "main.2:17."
            )
        table = dictionary.table[dictionary.table["generator_layer"] == layer]
        if table.empty:
            layers = list(dict.fromkeys(dictionary.table["generator_layer"]))
            raise UserError(
                f"unit {name}: the dictionary has no unit of layer {layer}. "
                f"{suggestion(layer, layers)}"
            )
        known = sorted(set(table["generator_channel"]))
        if int(channel) not in known:
            nearest = np.argsort(np.abs(np.array(known) - int(channel)), kind="stable")[:3]
            raise UserError(
                f"unit {name} has no match in every model; the nearest that have are "
                f"{', '.join(f'{layer}:{known[place]}' for place in sorted(nearest))}."
            )
        rows = table[table["generator_channel"] == int(channel)]
        found += choose_concepts(rows.reset_index(drop=True), dictionary.models)
    return found


def partner(concept: Concept) -> int:
    """Which of a concept's model units correlates most with its generator unit."""
    return int(np.argmax(concept.correlations))


def pairs_of(concepts: Sequence[Concept]) -> pd.DataFrame:
    """The one match of each concept, a row a concept, with the columns of read_matches."""
    rows = []
    for concept in concepts:
        own, other = concept.generator_unit, concept.model_units[partner(concept)]
        r = concept.correlations[partner(concept)]
        rows.append((own.layer, own.channel, other.model, other.layer, other.channel, r))
    return pd.DataFrame(rows, columns=COLUMNS)


def strongest_images(
    dictionary: Dictionary, concepts: Sequence[Concept], count: int
) -> list[list[int]]:
    """Images on which the pair of each concept fires most, the strongest first.

    Both units' maxima over positions, each on its own scale over all images, are averaged.

    Args:
        dictionary: The opened inputs.
        concepts: Whose.
        count: How many; fewer are returned if there are fewer images.

    Returns:
        Indices of images, a list a concept.
    """
    pairs = [(one.generator_unit, one.model_units[partner(one)]) for one in concepts]
    units = list(dict.fromkeys(unit for pair in pairs for unit in pair))
    maxima = unit_maxima(dictionary.maps, units, dictionary.images)
    ranges = unit_ranges(dictionary.moments, units)
    peaks = {unit: heatmaps.scale(maxima[unit], ranges[unit]) for unit in units}
    both = [peaks[own] + peaks[other] for own, other in pairs]
    return [np.argsort(-sums, kind="stable")[:count].tolist() for sums in both]


# --- optimising -----------------------------------------------------------------------------------


def visualise(
    inverter: Inverter,
    dictionary: Dictionary,
    concepts: Sequence[Concept],
    *,
    starts: int,
    images: int,
    memory: float,
) -> xr.Dataset:
    """Optimise images for the pair of each concept, from the same random starts.

    Args:
        inverter: With the matches of pairs_of, and one start.
        dictionary: The opened inputs.
        concepts: The same as the matches'.
        starts: Random starts of each pair.
        images: Strongest real examples to be named; the first of them is the target.
        memory: Budget in GB.

    Returns:
        image (pair, start, rgb, y, x), latent (pair, start, ...), loss (pair, start, step, term),
        failed (pair, start), frame (pair, start, frame, ...); concept, unit, model_unit,
        correlation (pair) and example (pair, example), numbers of images of the samples.

    Raises:
        ValueError: No start of any pair kept a finite loss.
    """
    settings = inverter.settings
    assert settings.starts == 1, settings
    examples = strongest_images(dictionary, concepts, images)
    targets = read_images(dictionary.samples, [places[0] for places in examples])
    pairs = pairs_of(concepts)
    at_once = inverter.rows_at_once(memory)
    found = []
    work = len(concepts) * starts * settings.steps
    with tqdm(total=work, desc="visualising", unit="step") as bar:
        for place, concept in enumerate(concepts):
            target = examples[place][0]
            classes = None
            if inverter.generator.classes:
                label = int(dictionary.samples["label"].values[target])
                classes = torch.full((starts,), label)
            picture = torch.from_numpy(targets[target]).permute(2, 0, 1)
            found.append(
                _guided_by(inverter, pairs.iloc[[place]]).invert(
                    picture.expand(starts, -1, -1, -1), range(starts), classes, at_once, bar.update
                )
            )
            _say_failures(concept, found[-1]["failed"])
    together = {name: np.stack([part[name] for part in found]) for name in found[0]}
    if (together["failed"] >= 0).all():
        raise UserError(
            "no loss stayed finite. Lower learning_rate or beta, or take a bounded similarity "
            "(cosine, pearson, distance)."
        )
    return _dataset_of(together, concepts, examples, settings)


def _guided_by(inverter: Inverter, match: pd.DataFrame) -> Inverter:
    """The same inverter, guided by one of its matches."""
    one = copy.copy(inverter)
    name, layer = match["model"].iloc[0], match["layer"].iloc[0]
    one.matches = match.reset_index(drop=True)
    one.models = {name: (inverter.models[name][0], [layer])}
    return one


def _say_failures(concept: Concept, failed: np.ndarray) -> None:
    for start in np.flatnonzero(failed[:, 0] >= 0):
        print(
            f"concept {concept.id}, start {start}: the loss was not finite from step "
            f"{failed[start, 0]} on; it stopped there.",
            file=sys.stderr,
        )


def _dataset_of(
    found: dict[str, np.ndarray],
    concepts: Sequence[Concept],
    examples: Sequence[Sequence[int]],
    settings: Settings,
) -> xr.Dataset:
    axes = {"z": ("latent",), "w": ("component",), "w+": ("layer", "component")}[settings.space]
    dims = ("pair", "start")
    names = [
        [f"{unit.model}:{unit.layer}:{unit.channel}" for unit in units]
        for units in (
            [concept.generator_unit for concept in concepts],
            [concept.model_units[partner(concept)] for concept in concepts],
        )
    ]
    variables = {
        "image": ((*dims, "rgb", "y", "x"), found["image"], {"long_name": "in [0, 1]"}),
        "latent": ((*dims, *axes), found["latent"]),
        "loss": ((*dims, "step", "term"), found["loss"][:, :, 0]),
        "failed": (dims, found["failed"][:, :, 0], {"long_name": "step, -1: none"}),
        "frame": ((*dims, "frame", *axes), found["frame"], {"long_name": "latents on the way"}),
        "example": (
            ("pair", "example"),
            np.array(examples),
            {"long_name": "images of the samples on which the pair fires most; 0 the target"},
        ),
        "correlation": ("pair", [max(concept.correlations) for concept in concepts]),
    }
    coordinates = {
        "concept": ("pair", [concept.number for concept in concepts]),
        "concept_id": ("pair", [concept.id for concept in concepts]),
        "unit": ("pair", np.array(names[0])),
        "model_unit": ("pair", np.array(names[1])),
        "term": np.array(TERMS),
    }
    return xr.Dataset(variables, coordinates)


# --- figure 1 -------------------------------------------------------------------------------------


def figure1(dictionary: Dictionary, concepts: Sequence[Concept], found: xr.Dataset) -> Figure:
    """Figure 1 of the paper: a row a concept, real examples in all models | optimised images.

    Args:
        dictionary: The opened inputs.
        concepts: In the order of the pairs.
        found: As visualise returns it.

    Returns:
        The figure.
    """
    examples = found["example"].values.tolist()
    shown = {image for places in examples for image in places}
    pictures = {
        index: picture.transpose(2, 0, 1)
        for index, picture in read_images(dictionary.samples, shown).items()
    }
    wanted = [
        (unit, image)
        for concept, places in zip(concepts, examples, strict=True)
        for unit in concept.units
        for image in places
    ]
    maps = read_maps(dictionary.maps, wanted)
    ranges = unit_ranges(dictionary.moments, {unit for unit, _ in wanted})
    rows, starts = len(examples[0]), found.sizes["start"]
    columns, more = 2 + len(dictionary.models), math.ceil(starts / rows)
    between, strip = 0.14, STRIP + GAP  # inches: before the optimised images, below every picture
    tall = max(map(proportion, pictures.values()))
    cell = min(
        (WIDTH - between) / (columns + more) - GAP,
        # about 0.6 inches of a row are text
        max(((TALLEST - 0.4) / len(concepts) - 0.6) / rows - strip, 0.35) / tall,
        0.85,
    )
    texts = [_heads(concept, letters_in(cell + GAP)) for concept in concepts]
    head = LINE * 1.7 + SPACED * max(len(text) for row in texts for text in row)
    height, width = head + rows * (cell * tall + strip), (columns + more) * (cell + GAP) + between
    words = folded(
        "Left, the images on which a concept's pair fires most, with the heatmaps of its unit in "
        "every model; above a column: model, layer, channel, correlation r. Right, images of "
        f"{dictionary.generator} optimised from random latents for one pair (eq. 5): its own unit "
        "and the model unit in bold type, whose map on the first image is the target. Below them: "
        f"similarity of both maps ({found.attrs['similarity']}).",
        letters_in(width) - 2,
    )
    above = len(concepts) * (height + 0.1)
    figure = new_figure(width, above + foot_height(words))
    similarity = found["loss"].sel(term="activation").isel(step=-1).values
    for place, concept in enumerate(concepts):
        top = place * (height + 0.1)
        _write_heads(figure, concept, texts[place], top=top, head=head, cell=cell)
        for row, image in enumerate(examples[place]):
            y = top + head + row * (cell * tall + strip)
            draw_image(figure, pictures[image], 0.0, y, cell)
            write_text(figure, 0.0, y + cell * tall + STRIP - 0.01, f"image {image}", size=SMALL)
            for column, unit in enumerate(concept.units, start=1):
                x = column * (cell + GAP)
                draw_heatmap(
                    figure, maps[unit, image], ranges[unit], pictures[image], x=x, y=y, width=cell
                )
        left = columns * (cell + GAP) + between
        write_text(figure, left, top + head - 0.04, "optimised", size=SMALL, weight="bold")
        for start in range(starts):
            x = left + (start % more) * (cell + GAP)
            y = top + head + (start // more) * (cell * tall + strip)
            draw_image(figure, found["image"].values[place, start], x, y, cell)
            value = similarity[place, start]
            said = number(value) if np.isfinite(value) else "failed"
            write_text(figure, x, y + cell * tall + STRIP - 0.01, said, size=SMALL)
    draw_key(figure, above, words, "over all images")
    return figure


def _heads(concept: Concept, letters: int) -> list[list[str]]:
    lines = []
    for place, unit in enumerate(concept.units):
        r = f", r {concept.correlations[place - 1]:.2f}" if place else ""
        lines.append(wrapped([unit.model, unit.layer, f"{unit.channel}{r}"], letters))
    return lines


def _write_heads(figure: Figure, concept: Concept, texts, *, top: float, head: float, cell: float):
    about = f"rank {concept.number}, strength {concept.strength:.2f}"
    write_title(figure, 0.0, top + LINE, f"Concept {concept.id}", about)
    chosen = (0, 1 + partner(concept))
    for column, lines in enumerate(texts):
        weight = "bold" if column in chosen else "normal"
        y = top + head - 0.06 - SPACED * len(lines)
        write_lines(figure, (column + 1) * (cell + GAP), y, lines, weight=weight)


# --- command line ---------------------------------------------------------------------------------


def visualised(
    dictionary: Dictionary, made_of: Mapping[str, str], a: argparse.Namespace
) -> Provenance:
    """Where the images of a command line come from.

    Args:
        dictionary: The opened inputs.
        made_of: As storage.manifests.ingredients gives it.
        a: The command line.
    """
    models = [dictionary.generator, *dictionary.models]
    sample_set = read_manifest(a.samples)["sample_set"]
    return Provenance("visualisations", models, sample_set, made_of, a.identity)


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    if a.threads:
        torch.set_num_threads(a.threads)
    if a.images < 1:
        raise UserError(f"--images {a.images}: at least one real example is the target.")
    dictionary = open_from_arguments(a)
    if a.generator not in (None, dictionary.generator):
        raise UserError(f"{a.table} is of {dictionary.generator}, not of {a.generator}.")
    picture = (a.figure or a.output).with_suffix("")
    if not dictionary.concepts and not a.concepts and not a.units:
        provenance = visualised(dictionary, dictionary.made_of, a)
        write_empty(a.output, EMPTY_REASON, provenance)
        save_figures({picture: empty_figure()}, a.identity)
        return
    if a.units:
        concepts = concepts_of_units(dictionary, a.units)
    elif a.concepts:
        concepts = concepts_named(dictionary, a.concepts)
    else:
        concepts = choose_distinct(dictionary, CONCEPTS)
    settings = options_from(a, Settings)
    moments = by_model(a.moments)
    pairs = pairs_of(concepts)
    needed = {name: moments[name] for name in (dictionary.generator, *pairs["model"].unique())}
    inverter = Inverter(
        dictionary.generator,
        a.zoo,
        pairs,
        needed,
        settings=replace(settings, starts=1),
        device=lease(),
    )
    found = visualise(
        inverter,
        dictionary,
        concepts,
        starts=settings.starts,
        images=a.images,
        memory=a.memory_gb,
    ).assign_attrs(
        generator=dictionary.generator,
        generator_digest=entry_digest(inverter.entry),
        samples=str(a.samples),
        samples_digest=digest_of_artefact(a.samples),
        **settings.attrs(),
    )
    inputs = [a.table, a.samples, *a.maps, *a.moments]
    made_of = ingredients(inputs, inverter.origin)
    write_dataset(found, a.output, visualised(dictionary, made_of, a))
    save_figures({picture: figure1(dictionary, concepts, found)}, a.identity)
