"""Pages of images: what responds on each image that some concept is shown on."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rosetta_steps.display.dictionary import save_heatmap
from rosetta_steps.display.exemplars import Unit
from rosetta_steps.display.heatmaps import grey_image, scale
from rosetta_steps.display.page import heatmap_name, image_name
from rosetta_steps.display.reading import read_images, read_maps, unit_ranges
from rosetta_steps.website.content import Content, address_of_concept, address_of_image

STRONGEST = 12  # concepts of an image, besides those that are shown on it


@dataclass(frozen=True)
class Images:
    """The images on which some concept is shown, and the concepts that are drawn on each.

    Attributes:
        content: What the site says.
    """

    content: Content

    @cached_property
    def ranges(self) -> Mapping[Unit, tuple[float, float]]:
        """Minimum and maximum of the unit of every concept."""
        units = [concept.generator_unit for concept in self.content.dictionary.concepts]
        return unit_ranges(self.content.dictionary.moments, units)

    @cached_property
    def peaks(self) -> np.ndarray:
        """Greatest response of each concept on every image, in [0, 1], (concept, image)."""
        units = [concept.generator_unit for concept in self.content.dictionary.concepts]
        return np.array([scale(self.content.maxima[unit], self.ranges[unit]) for unit in units])

    @cached_property
    def shown(self) -> dict[int, set[int]]:
        """Positions of the concepts that have each image among their examples."""
        found: dict[int, set[int]] = {}
        for place, concept in enumerate(self.content.dictionary.concepts):
            for example in self.content.examples[concept.number]:
                found.setdefault(example.image, set()).add(place)
        return dict(sorted(found.items()))

    @cached_property
    def drawn(self) -> dict[int, list[int]]:
        """Positions of the concepts that are drawn on each image, the strongest response first."""
        found = {}
        for image, shown in self.shown.items():
            order = np.argsort(-self.peaks[:, image], kind="stable")
            found[image] = [
                int(place) for rank, place in enumerate(order) if rank < STRONGEST or place in shown
            ]
        return found

    def draw(self, folder: Path, picture_size: int) -> None:
        """Write the heatmaps that the pages of concepts have not.

        Args:
            folder: Of the site.
            picture_size: Longer side of a picture in pixels.
        """
        dictionary = self.content.dictionary
        wanted = {
            image: [dictionary.concepts[n] for n in places if n not in self.shown[image]]
            for image, places in self.drawn.items()
        }
        pictures = read_images(dictionary.samples, wanted)
        maps = read_maps(
            dictionary.maps,
            ((one.generator_unit, image) for image, concepts in wanted.items() for one in concepts),
        )

        def draw_on(image: int) -> None:
            grey = grey_image(pictures[image], picture_size)
            for concept in wanted[image]:
                unit = concept.generator_unit
                path = folder / heatmap_name(concept, 0, image)
                save_heatmap(maps[unit, image], self.ranges[unit], grey, path)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(tqdm(pool.map(draw_on, wanted), "images", len(wanted), unit="image"))

    def pages(self) -> list[dict]:
        """A page an image, in their order."""
        images = list(self.drawn)
        return [
            {
                "image": image,
                "address": address_of_image(image),
                "picture": image_name(image),
                "before": address_of_image(images[place - 1]) if place else "",
                "after": address_of_image(images[place + 1]) if place + 1 < len(images) else "",
                "concepts": [self._on_image(n, image) for n in self.drawn[image]],
                "left_out": len(self.peaks) - len(self.drawn[image]),
            }
            for place, image in enumerate(images)
        ]

    def _on_image(self, place: int, image: int) -> dict:
        concept = self.content.dictionary.concepts[place]
        return {
            "id": concept.id,
            "rank": concept.number,
            "address": address_of_concept(concept.id),
            "peak": float(self.peaks[place, image]),
            "heatmap": heatmap_name(concept, 0, image),
        }
