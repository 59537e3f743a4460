"""The dictionary to look at: every concept as heatmaps over example images, on one page.

INPUTS   rosetta.csv, the samples, and of the generator and every model activations and moments
OUTPUTS  index.html and concepts/ beside it; the page reads nothing from anywhere else
"""

import argparse
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image
from tqdm import tqdm

from rosetta_steps import heatmaps
from rosetta_steps.dictionary_stores import (
    Dictionary,
    add_input_arguments,
    file_label,
    open_from_arguments,
    read_images,
    read_maps,
    unit_maxima,
    unit_ranges,
)
from rosetta_steps.errors import UserError, run
from rosetta_steps.representatives import EMPTY_REASON, Concept, Example, Unit, choose_examples
from rosetta_steps.storage.files import room_for
from rosetta_steps.storage.leftovers import partial
from rosetta_steps.storage.manifests import add_identity_argument
from rosetta_steps.storage.portable import listed

TEMPLATE = Path(__file__).with_name("dictionary.html")
PICTURES = "concepts"  # the folder beside the page
KEY = f"{PICTURES}/colour-key.webp"
# WebP, because every browser shows it and it keeps heatmaps this small without visible blocks
WEBP = {"format": "WEBP", "quality": 84, "method": 2}
FILE_LETTERS = 20  # of a photo's name beside its row
READ = {
    "top": "where the first unit responds most",
    "middle": "around the median",
    "low": "where it responds least",
}


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
        output: The page. Its pictures go into concepts/ beside it, which is replaced.
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
        with room_for(output):
            (building / PICTURES).mkdir(parents=True)
            examples = concept_examples(dictionary, top=top, middle=middle, low=low)
            size = write_pictures(dictionary, examples, building, picture_size)
            (building / output.name).write_text(
                page(dictionary, examples, size, settings, identity), encoding="utf-8"
            )
            _put_in_place(building, output)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def concept_examples(
    dictionary: Dictionary, *, top: int, middle: int, low: int
) -> dict[int, list[Example]]:
    """Choose the example images of every concept, by its generator unit.

    Args:
        dictionary: The opened inputs.
        top: Images of the greatest response.
        middle: Images around the median.
        low: Images of the least response.

    Returns:
        Per number of a concept its examples by rank.
    """
    units = [concept.generator_unit for concept in dictionary.concepts]
    maxima = unit_maxima(dictionary.activations, units, dictionary.images)
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
    for index, image in images.items():
        picture = heatmaps.to_bytes(heatmaps.resize_image(image, size))
        _save(picture, folder / image_name(index))
    greys = {i: heatmaps.grey_image(image, picture_size) for i, image in images.items()}
    units = {unit for concept in dictionary.concepts for unit in concept.units}
    ranges = unit_ranges(dictionary.moments, units)
    maps = read_maps(
        dictionary.activations,
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
                picture = heatmaps.overlay(
                    maps[unit, example.image], ranges[unit], greys[example.image]
                )
                _save(picture, folder / heatmap_name(concept, column, example))

    concepts = dictionary.concepts
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # encoding a picture frees the interpreter
        list(tqdm(pool.map(draw, concepts), "pictures", len(concepts), unit="concept"))
    return size


def image_name(index: int) -> str:
    """Picture of an image, relative to the page; concepts that show the same image share it."""
    return f"{PICTURES}/image-{index:05d}.webp"


def heatmap_name(concept: Concept, column: int, example: Example) -> str:
    """Picture of a heatmap, relative to the page; column 0 is the generator's."""
    return f"{PICTURES}/concept-{concept.number:03d}-{column}-image-{example.image:05d}.webp"


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
    os.replace(building / output.name, output)


# --- page -----------------------------------------------------------------------------------------


def page(
    dictionary: Dictionary,
    examples: Mapping[int, Sequence[Example]],
    size: tuple[int, int],
    settings: str,
    identity: str = "",
) -> str:
    """Fill in the page.

    Args:
        dictionary: The opened inputs.
        examples: Per number of a concept its examples.
        size: Height and width of the pictures in pixels.
        settings: As in `write_page`.
        identity: Likewise.

    Returns:
        The page's HTML.
    """
    concepts = dictionary.concepts
    if concepts:
        overview = _overview(concepts, examples, size)
        body = "\n".join(
            _section(concept, examples[concept.number], size, dictionary.files)
            for concept in concepts
        )
    else:
        overview = ""
        body = f'<p class="empty" id="empty">{escape(EMPTY_REASON)}</p>'
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        identity=escape(identity),
        title=escape(f"Rosetta neurons of {dictionary.generator}"),
        facts=_facts(dictionary, settings),
        key=KEY,
        generator=escape(dictionary.generator),
        images=dictionary.images,
        width=size[1],
        # the page keeps the parts that explain pictures only where there are some
        state="filled" if concepts else "nothing",
        overview=overview,
        concepts=body,
    )


def _facts(dictionary: Dictionary, settings: str) -> str:
    """What was mined, as the rows of a list of terms."""
    attrs, table, concepts = dictionary.samples.attrs, dictionary.table, dictionary.concepts
    # Of photos, the first model plays the generator's part.
    first = "First model" if dictionary.files else "Generator"
    origin = f"seed {attrs['seed']}" if "seed" in attrs else "from files"
    facts = [(first, dictionary.generator), ("Models", ", ".join(dictionary.models))]
    facts += [("Images", f"{dictionary.images} ({origin})")]
    left_out = listed(attrs.get("unreadable"))
    facts += [("Left out", _count(len(left_out), "unreadable file"))] if left_out else []
    if classes := listed(attrs.get("classes")):
        facts += [("Classes", ", ".join(classes.values()))]
    if attrs.get("truncation", 1) != 1:
        facts += [("Truncation", attrs["truncation"])]
    facts += [("Mined with", settings)] if settings else []
    units = table[["generator_layer", "generator_channel"]].drop_duplicates()
    facts += [
        ("Rosetta units", f"{len(units)} of {dictionary.generator}"),
        ("Concepts", len(concepts)),
    ]
    if concepts:
        largest = max(concepts, key=lambda concept: concept.generator_units)
        strengths = [concept.strength for concept in concepts]
        size = _count(largest.generator_units, "unit")
        facts += [("Largest concept", f"number {largest.number}, {size} of {dictionary.generator}")]
        facts += [("Strength", f"{max(strengths):.2f} to {min(strengths):.2f}")]
    return "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}"
        f"{_unreadable(left_out) if name == 'Left out' else ''}</dd></div>"
        for name, value in facts
    )


def _unreadable(lines: Sequence[str]) -> str:
    """The files left out, each with its reason, as a list that opens."""
    items = "\n".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<details><summary>which</summary><ul>\n{items}\n</ul></details>"


def _overview(
    concepts: Sequence[Concept],
    examples: Mapping[int, Sequence[Example]],
    size: tuple[int, int],
) -> str:
    """A link to every concept: its generator unit over the first of its examples."""
    links = []
    for concept in concepts:
        example = examples[concept.number][0]
        picture = _picture(
            heatmap_name(concept, 0, example), f"Concept {concept.number} at a glance", size
        )
        links.append(
            f'<a href="#concept-{concept.number}" data-of="concept-{concept.number}" '
            f'title="strength {concept.strength:.2f}">{picture}<span>{concept.number}</span></a>'
        )
    return '<nav class="overview" aria-label="All concepts">\n' + "\n".join(links) + "\n</nav>"


def _section(
    concept: Concept, examples: Sequence[Example], size: tuple[int, int], files: Sequence[str]
) -> str:
    """One concept: heading, grid of pictures, table of its units; files are those of photos."""
    anchor = f"concept-{concept.number}"
    pairs = concept.members[["model", "layer", "channel"]].drop_duplicates()
    about = (
        f"strength {concept.strength:.2f} · "
        f"{_count(concept.generator_units, 'unit')} of {escape(concept.generator_unit.model)} · "
        f"{_count(len(pairs), 'model unit')}"
    )
    headers = [
        _unit_header(unit, correlation)
        for unit, correlation in zip(concept.units, (None, *concept.correlations), strict=True)
    ]
    rows = [
        _example_row(concept, example, size, files[example.image] if files else None)
        for example in examples
    ]
    words = " ".join(_search_words(concept))
    return f"""<section class="concept" id="{anchor}" data-words="{escape(words)}">
<h2><a href="#{anchor}">Concept {concept.number}</a> <small>{about}</small></h2>
<div class="scroll"><table class="grid">
<thead><tr><td></td><th scope="col">image</th>{"".join(headers)}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table></div>
{_members(concept)}
</section>"""


def _unit_header(unit: Unit, correlation: float | None) -> str:
    """Head of a column: model, layer, channel and, but for the generator's, the correlation."""
    layer = escape(unit.layer).replace(".", ".<wbr>")  # long layer names may break at their dots
    r = "" if correlation is None else f" · r = {correlation:.2f}"
    return (
        f'<th scope="col"><b>{escape(unit.model)}</b><span>{layer}</span>'
        f"<span>channel {unit.channel}{r}</span></th>"
    )


def _example_row(
    concept: Concept, example: Example, size: tuple[int, int], file: str | None
) -> str:
    """One example image: its label, the image, then a heatmap for each unit."""
    image, photo = f"image {example.image}", ""
    if file is not None:
        image += f" ({file_label(file, 60)})"
        photo = f'<span title="{escape(file)}">{escape(file_label(file, FILE_LETTERS))}</span>'
    label = (
        f'<th scope="row" title="{READ[example.group]}"><b class="{example.group}">'
        f"{example.group}</b><span>image {example.image}</span>{photo}"
        f"<span>rank {example.rank}</span><span>peak {100 * example.peak:.0f}%</span></th>"
    )
    cells = [_picture(image_name(example.image), f"I{image[1:]}", size, title=file)]
    for column, unit in enumerate(concept.units):
        alt = (
            f"Concept {concept.number}, {example.group} example, {image}: "
            f"{unit.model}, layer {unit.layer}, channel {unit.channel}"
        )
        cells.append(_picture(heatmap_name(concept, column, example), alt, size))
    return f"<tr>{label}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _picture(name: str, alt: str, size: tuple[int, int], title: str | None = None) -> str:
    height, width = size
    hover = "" if title is None else f' title="{escape(title)}"'
    return (
        f'<img src="{name}" alt="{escape(alt)}"{hover} width="{width}" height="{height}" '
        'loading="lazy">'
    )


def _members(concept: Concept) -> str:
    """Every pair of the concept, as a table that opens."""
    rows = "\n".join(
        f"<tr><td>{escape(row.generator_layer)}</td><td>{row.generator_channel}</td>"
        f"<td>{escape(row.model)}</td><td>{escape(row.layer)}</td><td>{row.channel}</td>"
        f"<td>{row.correlation:.3f}</td></tr>"
        for row in concept.members.itertuples(index=False)
    )
    return f"""<details><summary>All its units ({_count(len(concept.members), "pair")})</summary>
<table class="members">
<thead><tr><th>layer of {escape(concept.generator_unit.model)}</th><th>channel</th>
<th>model</th><th>layer</th><th>channel</th><th>correlation</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></details>"""


def _search_words(concept: Concept) -> Iterable[str]:
    """What the filter looks in: number, models, layers, and units as layer/channel."""
    words = {f"concept-{concept.number}": None}
    for row in concept.members.itertuples(index=False):
        words[f"{row.generator}:{row.generator_layer}/{row.generator_channel}"] = None
        words[f"{row.model}:{row.layer}/{row.channel}"] = None
    return words


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def main() -> None:
    """Command line: write the page of one sample set."""
    parser = argparse.ArgumentParser(
        prog="python -m rosetta_steps.dictionary", description=__doc__.splitlines()[0]
    )
    add_input_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="the page, DIR/index.html")
    parser.add_argument("--top", type=int, default=3, help="example images of most response")
    parser.add_argument("--middle", type=int, default=2, help="example images around the median")
    parser.add_argument("--low", type=int, default=1, help="example images of least response")
    parser.add_argument(
        "--picture-size", type=int, default=128, help="longer side of a picture in pixels"
    )
    parser.add_argument(
        "--settings", default="", help="what else it was mined with, in words, for the page's head"
    )
    add_identity_argument(parser)
    arguments = parser.parse_args()
    write_page(
        open_from_arguments(arguments),
        arguments.output,
        top=arguments.top,
        middle=arguments.middle,
        low=arguments.low,
        picture_size=arguments.picture_size,
        settings=arguments.settings,
        identity=arguments.identity or "",
    )


if __name__ == "__main__":
    run(main)
