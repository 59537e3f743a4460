"""The HTML page of a dictionary, filled into a template."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from rosetta_steps.display.exemplars import EMPTY_REASON, Concept, Example, Unit
from rosetta_steps.display.reading import (
    Dictionary,
    file_label,
)
from rosetta_steps.storage.portable import listed

TEMPLATE = Path(__file__).with_name("page.html")


PICTURES = "concepts"  # folder beside the page that holds its image files


KEY = f"{PICTURES}/colour-key.webp"


FILE_LETTERS = 20  # maximum length of a file's name beside its row


READ = {
    "top": "where the first unit responds most",
    "middle": "around the median",
    "low": "where it responds least",
}


def image_name(index: int) -> str:
    """Return the path of an image's file relative to the page; concepts share these files."""
    return f"{PICTURES}/image-{index:05d}.webp"


def heatmap_name(concept: Concept, column: int, example: Example) -> str:
    """Return the path of a heatmap's file relative to the page; column 0 is the generator's."""
    return f"{PICTURES}/concept-{concept.number:03d}-{column}-image-{example.image:05d}.webp"


def page(
    dictionary: Dictionary,
    examples: Mapping[int, Sequence[Example]],
    size: tuple[int, int],
    settings: str,
    identity: str = "",
) -> str:
    """Return the HTML of the page.

    Args:
        dictionary: The opened inputs.
        examples: Examples of each concept, by its number.
        size: Height and width of the images in pixels.
        settings: Text on the settings of the dictionary, as in `dictionary.write_page`.
        identity: Digest of the config settings that determine the page, as there.

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
        # The style sheet hides the explanations of images if there are no concepts.
        state="filled" if concepts else "nothing",
        overview=overview,
        concepts=body,
    )


def _facts(dictionary: Dictionary, settings: str) -> str:
    """Return the facts of the mining (generator, models, images) as rows of a definition list."""
    attrs, table, concepts = dictionary.samples.attrs, dictionary.table, dictionary.concepts
    # On image files, the first model takes the place of the generator.
    first = "First model" if dictionary.files else "Generator"
    origin = f"seed {attrs['seed']}" if "seed" in attrs else "from files"
    facts: list[tuple[str, object]] = [
        (first, dictionary.generator),
        ("Models", ", ".join(dictionary.models)),
    ]
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
    """Return the files that were left out, with reasons, as a collapsible list."""
    items = "\n".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<details><summary>which</summary><ul>\n{items}\n</ul></details>"


def _overview(
    concepts: Sequence[Concept],
    examples: Mapping[int, Sequence[Example]],
    size: tuple[int, int],
) -> str:
    """Return links to all concepts, each with the heatmap of its generator unit."""
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
    """Return the section of one concept: heading, grid of heatmaps, table of its units.

    `files` has the file names of the images, if they come from files.
    """
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
    """Return the head of a column: model, layer, channel, and correlation unless generator's."""
    layer = escape(unit.layer).replace(".", ".<wbr>")  # long layer names may break at their dots
    r = "" if correlation is None else f" · r = {correlation:.2f}"
    return (
        f'<th scope="col"><b>{escape(unit.model)}</b><span>{layer}</span>'
        f"<span>channel {unit.channel}{r}</span></th>"
    )


def _example_row(
    concept: Concept, example: Example, size: tuple[int, int], file: str | None
) -> str:
    """Return the row of one example: label, image, and a heatmap for each unit."""
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
    """Return all pairs of the concept as a collapsible table."""
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
    """Return the texts that the page's filter searches: number, models, layers, layer/channel."""
    words = {f"concept-{concept.number}": None}
    for row in concept.members.itertuples(index=False):
        words[f"{row.generator}:{row.generator_layer}/{row.generator_channel}"] = None
        words[f"{row.model}:{row.layer}/{row.channel}"] = None
    return words


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
