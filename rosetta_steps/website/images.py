"""Pages of images: what responds on each image that some concept is shown on."""

from collections.abc import Iterator

import numpy as np

from rosetta_steps.display.exemplars import Concept
from rosetta_steps.display.heatmaps import scale
from rosetta_steps.display.page import heatmap_name, image_name
from rosetta_steps.display.reading import unit_ranges
from rosetta_steps.website.content import Content, address_of_concept, address_of_image

MOST = 24  # concepts of an image, besides those that are shown on it


def image_pages(content: Content) -> Iterator[dict]:
    """A page an image, in their order: its concepts, the strongest response first."""
    concepts = content.dictionary.concepts
    peaks = _peaks(content)
    drawn = _drawn(content)
    images = sorted({image for image, _ in drawn})
    for place, image in enumerate(images):
        order = np.argsort(-peaks[:, image], kind="stable")
        shown = [n for n in order if (image, concepts[n].number) in drawn]
        listed = sorted({*shown, *order[:MOST]}, key=list(order).index)
        yield {
            "image": image,
            "address": address_of_image(image),
            "picture": image_name(image),
            "before": address_of_image(images[place - 1]) if place else "",
            "after": address_of_image(images[place + 1]) if place + 1 < len(images) else "",
            "concepts": [
                _on_image(concepts[n], float(peaks[n, image]), drawn, image) for n in listed
            ],
            "left_out": len(concepts) - len(listed),
        }


def _peaks(content: Content) -> np.ndarray:
    """Greatest response of each concept's unit on every image, in [0, 1], (concept, image)."""
    units = [concept.generator_unit for concept in content.dictionary.concepts]
    ranges = unit_ranges(content.dictionary.moments, units)
    return np.array([scale(content.maxima[unit], ranges[unit]) for unit in units])


def _drawn(content: Content) -> dict[tuple[int, int], str]:
    """The heatmap of each image and concept, by its rank, that is shown on it."""
    return {
        (example.image, concept.number): heatmap_name(concept, 0, example)
        for concept in content.dictionary.concepts
        for example in content.examples[concept.number]
    }


def _on_image(concept: Concept, peak: float, drawn: dict[tuple[int, int], str], image: int) -> dict:
    return {
        "id": concept.id,
        "rank": concept.number,
        "address": address_of_concept(concept.id),
        "peak": peak,
        "heatmap": drawn.get((image, concept.number), ""),
    }
