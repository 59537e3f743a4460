"""Pages of a site, filled into the templates of the folder beside this module."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from tqdm import tqdm

from rosetta_steps.display.exemplars import EMPTY_REASON
from rosetta_steps.website.content import Content
from rosetta_steps.website.images import Images
from rosetta_steps.website.layers import layer_pages

TEMPLATES = Path(__file__).with_suffix("")


def pages(content: Content, shared: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of every page of a site.

    Args:
        content: What the pages say.
        shared: What all templates may use.
    """
    concepts = content.concepts
    images = Images(content).pages()
    extras = [("images", "images.html")] if images else []
    extras += [("atlas", "atlas.html")] if shared["atlas"] else []

    def filled(template: str, root: str, **values) -> str:
        return rendered(template, root, extras=extras, **shared, **values)

    yield (
        "index.html",
        filled("index.html", "", concepts=concepts, empty=EMPTY_REASON, key_of=key_of),
    )
    for _, address in extras:
        yield address, filled(address, "", pages=images)
    for page in tqdm(images, "pages of images", unit="page"):
        yield page["address"], filled("image.html", "../", page=page)
    for place, concept in enumerate(tqdm(concepts, "pages of concepts", unit="page")):
        before = concepts[place - 1] if place else None
        after = concepts[place + 1] if place + 1 < len(concepts) else None
        text = filled("concept.html", "../", concept=concept, before=before, after=after)
        yield concept["address"], text
    units = tqdm(
        content.unit_pages(), "pages of units", len(content.units_of_concepts), unit="page"
    )
    for unit in units:
        yield unit["address"], filled("unit.html", "../../", unit=unit)
    for model in content.models:
        yield model["address"], filled("model.html", "../", model=model)
    for layer in tqdm(layer_pages(content), "pages of layers", unit="page"):
        yield layer["address"], filled("layer.html", "../../", layer=layer)


def key_of(column: str) -> str:
    """Return a column's name as a data attribute that scripts read: without underscores."""
    return column.replace("_", "")


def rendered(template: str, root: str, **values) -> str:
    """Fill a template.

    Args:
        template: Its name.
        root: Path from the page to the folder of the site: "" or "../".
        values: What it says; text is escaped, and a value that is missing is an error.
    """
    return _environment().get_template(template).render(root=root, **values)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
