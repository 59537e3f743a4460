"""Pictures of a few units on the images to which the first of them responds most."""

from collections.abc import Sequence

from rosetta_steps.display.exemplars import Concept, Example
from rosetta_steps.display.page import heatmap_name, image_name
from rosetta_steps.matching.identity import unit_name


def picture_rows(concept: Concept, examples: Sequence[Example], folder: str) -> list[dict]:
    """The images alone, then a row a unit, as parts.html draws them.

    Args:
        concept: The units.
        examples: The images.
        folder: Of the pictures, relative to the page: "" or "first/".
    """
    images = [f"{folder}{image_name(one.image)}" for one in examples]
    rows = [
        {
            "model": unit.model,
            "unit": unit_name(unit.layer, unit.channel),
            "pictures": [f"{folder}{heatmap_name(concept, column, one.image)}" for one in examples],
        }
        for column, unit in enumerate(concept.units)
    ]
    return [{"model": "", "unit": "image", "pictures": images}, *rows]
