"""The HTML page of a dictionary, filled into a template."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from rosetta_steps.display.exemplars import EMPTY_REASON, Concept, Example, Unit
from rosetta_steps.display.reading import (
    Dictionary,
    file_label,
)
from rosetta_steps.display.trust import TRUST
from rosetta_steps.evidence.survival import survival
from rosetta_steps.evidence.verdicts import TESTS, failed_badges
from rosetta_steps.storage.portable import listed

TEMPLATE = Path(__file__).with_name("page.html")


PICTURES = "concepts"  # folder beside the page that holds its image files


KEY = f"{PICTURES}/colour-key.webp"


FILE_LETTERS = 20  # maximum length of a file's name beside its row


SENTENCES = {test.badge: test.sentence for test in TESTS}


READ = {
    "top": "where the first unit responds most",
    "middle": "around the median",
    "low": "where it responds least",
}


def image_name(index: int) -> str:
    """Return the path of an image's file relative to the page; concepts share these files."""
    return f"{PICTURES}/image-{index:05d}.webp"


def heatmap_name(concept: Concept, column: int, image: int) -> str:
    """Return the path of a heatmap's file relative to the page; column 0 is the generator's."""
    return f"{PICTURES}/concept-{concept.number:03d}-{column}-image-{image:05d}.webp"


def anchor_of(concept: Concept) -> str:
    """Return the page's id of a concept's section, to which links lead; it has no white space."""
    return quote(f"concept-{concept.id}", safe="-:")


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
            _section(dictionary, concept, examples[concept.number], size) for concept in concepts
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
        choices=_choices(dictionary),
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
        ("Models", _models(dictionary)),
    ]
    facts += [("Images", f"{dictionary.images} ({origin})")]
    left_out = listed(attrs.get("unreadable"))
    facts += [("Left out", _count(len(left_out), "unreadable file"))] if left_out else []
    if classes := listed(attrs.get("classes")):
        facts += [("Classes", ", ".join(classes.values()))]
    if attrs.get("truncation", 1) != 1:
        facts += [("Truncation", attrs["truncation"])]
    facts += [("Mined with", settings)] if settings else []
    facts += [("Pass every test", _trusted(dictionary))] if dictionary.evidence else []
    units = table[["generator_layer", "generator_channel"]].drop_duplicates()
    facts += [
        ("Rosetta units", f"{len(units)} of {dictionary.generator}"),
        ("Concepts", len(concepts)),
    ]
    if concepts:
        largest = max(concepts, key=lambda concept: concept.generator_units)
        strengths = [concept.strength for concept in concepts]
        size = _count(largest.generator_units, "unit")
        facts += [("Largest concept", f"{largest.id}, {size} of {dictionary.generator}")]
        facts += [("Strength", f"{max(strengths):.2f} to {min(strengths):.2f}")]
    return "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}{_after(name, left_out)}</dd></div>"
        for name, value in facts
    )


def _models(dictionary: Dictionary) -> str:
    names = ", ".join(dictionary.models)
    if dictionary.all_models == len(dictionary.models):
        return names
    shown = len(dictionary.models)
    return f"{dictionary.all_models}, of which the {shown} that match best are shown: {names}"


def _choices(dictionary: Dictionary) -> str:
    """Return the choices of the filter by evidence; none where there is no evidence."""
    if not dictionary.evidence:
        return ""
    failed = {b for verdict in dictionary.verdicts.values() for b in failed_badges(verdict)}
    options = [f"<option value='fails {b}'>fails: {b}</option>" for b in SENTENCES if b in failed]
    return (
        '<select aria-label="Filter by evidence"><option value="">all concepts</option>'
        f"<option value='passes'>pairs shown pass every test</option>{''.join(options)}</select>"
    )


def _trusted(dictionary: Dictionary) -> str:
    """Return how much of the dictionary passes every test that was made."""
    total = survival(dictionary.evidence, dictionary.table).iloc[-1]
    return (
        f"{total.pairs} of {_count(total.pairs_tested, 'pair')}, "
        f"{_count(total.units, 'Rosetta unit')}, {_count(total.concepts, 'concept')}"
    )


def _after(name: str, left_out: Sequence[str]) -> str:
    """Return what follows a fact: the files that were left out, or the page on trust."""
    if name == "Left out":
        return _unreadable(left_out)
    return f' (<a href="{TRUST}">how far to trust it</a>)' if name == "Pass every test" else ""


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
            heatmap_name(concept, 0, example.image), f"Concept {concept.id} at a glance", size
        )
        links.append(
            f'<a href="#{anchor_of(concept)}" data-of="{anchor_of(concept)}" '
            f'title="{escape(concept.id)}, strength {concept.strength:.2f}">{picture}'
            f"<span>{concept.number}</span></a>"
        )
    return '<nav class="overview" aria-label="All concepts">\n' + "\n".join(links) + "\n</nav>"


def _section(
    dictionary: Dictionary, concept: Concept, examples: Sequence[Example], size: tuple[int, int]
) -> str:
    """Return the section of one concept: heading, grid of heatmaps, table of its units."""
    files, verdicts = dictionary.files, dictionary.verdicts
    anchor = anchor_of(concept)
    pairs = {(row.model, row.layer, row.channel) for row in concept.rows}
    about = (
        f"rank {concept.number} · strength {concept.strength:.2f} · "
        f"{_count(concept.generator_units, 'unit')} of {escape(concept.generator_unit.model)} · "
        f"{_count(len(pairs), 'model unit')}"
    )
    headers = [
        _unit_header(
            unit,
            correlation,
            verdicts.get((concept.generator_unit, unit)),
            name=dictionary.names.get(unit, ""),
        )
        for unit, correlation in zip(concept.units, (None, *concept.correlations), strict=True)
    ]
    # Of the pairs that are shown: what the filter of evidence looks at.
    shown = [verdicts.get((concept.generator_unit, unit)) for unit in concept.model_units]
    failed = {badge for verdict in shown if verdict for badge in failed_badges(verdict)}
    rows = [
        _example_row(concept, example, size, files[example.image] if files else None)
        for example in examples
    ]
    words = " ".join(_search_words(concept))
    return f"""<section class="concept" id="{anchor}" data-words="{escape(words)}"
data-failed="{escape("|".join(sorted(failed)))}">
<h2><a href="#{anchor}">Concept {escape(concept.id)}</a> <small>{about}</small></h2>
<div class="scroll"><table class="grid">
<thead><tr><td></td><th scope="col">image</th>{"".join(headers)}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table></div>
{_members(dictionary, concept)}
</section>"""


def _unit_header(
    unit: Unit, correlation: float | None, verdict: str | None, *, name: str = ""
) -> str:
    """Return the head of a column: the unit, and of a model's its correlation and tests."""
    title = "what explains this unit over all images, with its correlation"
    name = f'<span title="{title}">{escape(name)}</span>' * bool(name)
    layer = escape(unit.layer).replace(".", ".<wbr>")  # long layer names may break at their dots
    r = "" if correlation is None else f" · r = {correlation:.2f}"
    return (
        f'<th scope="col"><b>{escape(unit.model)}</b><span>{layer}</span>'
        f"<span>channel {unit.channel}{r}</span>{name}{_badges(verdict)}</th>"
    )


def _badges(verdict: str | None) -> str:
    """Return how many tests a pair passed, and a badge for each that it failed."""
    if verdict is None:
        return ""
    count = verdict.partition(":")[0]
    failed = "".join(
        f'<i class="badge" title="{escape(SENTENCES[badge])}">{escape(badge)}</i>'
        for badge in failed_badges(verdict)
    )
    return f'<span class="tests">passes {escape(count)} tests {failed}</span>'


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
            f"Concept {concept.id}, {example.group} example, {image}: "
            f"{unit.model}, layer {unit.layer}, channel {unit.channel}"
        )
        cells.append(_picture(heatmap_name(concept, column, example.image), alt, size))
    return f"<tr>{label}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _picture(name: str, alt: str, size: tuple[int, int], title: str | None = None) -> str:
    height, width = size
    hover = "" if title is None else f' title="{escape(title)}"'
    return (
        f'<img src="{name}" alt="{escape(alt)}"{hover} width="{width}" height="{height}" '
        'loading="lazy">'
    )


# Columns of the evidence that the table of a concept shows.
SHOWN = {
    "where": "where",
    "amount": "amount",
    "place": "place",
    "q": "q",
    "q_place": "q of place",
    "low": "low",
    "high": "high",
}


def _members(dictionary: Dictionary, concept: Concept) -> str:
    """Return all pairs of the concept as a collapsible table, with their evidence."""
    evidence = dictionary.evidence_of_pairs
    named = {**SHOWN, "verdict": "tests passed"} if dictionary.evidence else {}
    heads = "".join(f"<th>{escape(name)}</th>" for name in named.values())
    rows = []
    for row in concept.rows:
        pair = (
            Unit(row.generator, row.generator_layer, row.generator_channel),
            Unit(row.model, row.layer, row.channel),
        )
        found = evidence.get(pair, {})
        cells = "".join(f"<td>{_number(found.get(column))}</td>" for column in named)
        rows.append(
            f"<tr><td>{escape(row.generator_layer)}</td><td>{row.generator_channel}</td>"
            f"<td>{escape(row.model)}</td><td>{escape(row.layer)}</td><td>{row.channel}</td>"
            f"<td>{row.correlation:.3f}</td>{cells}</tr>"
        )
    return f"""<details><summary>All its units ({_count(len(concept.members), "pair")})</summary>
<div class="scroll"><table class="members">
<thead><tr><th>layer of {escape(concept.generator_unit.model)}</th><th>channel</th>
<th>model</th><th>layer</th><th>channel</th><th>correlation</th>{heads}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table></div></details>"""


def _number(value) -> str:
    if isinstance(value, str):
        return escape(value)
    return "" if value is None or value != value else f"{value:.3f}"


def _search_words(concept: Concept) -> Iterable[str]:
    """Return the texts that the page's filter searches: id, rank, models, layers, layer:channel."""
    words = {f"concept-{concept.id}": None, f"rank-{concept.number}": None}
    for row in concept.rows:
        words[f"{row.generator}:{row.generator_layer}:{row.generator_channel}"] = None
        words[f"{row.model}:{row.layer}:{row.channel}"] = None
    return words


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
