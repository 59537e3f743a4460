"""Which concepts and images a figure shows."""

from collections.abc import Sequence

import numpy as np

from rosetta_steps.display import heatmaps
from rosetta_steps.display.exemplars import Concept
from rosetta_steps.display.reading import (
    Dictionary,
    read_maps,
    unit_maxima,
    unit_ranges,
)

DISTINCT = 0.4  # correlation of two generator units below which their concepts look different


def choose_distinct(dictionary: Dictionary, count: int) -> list[Concept]:
    """Choose strong concepts that differ from each other.

    In order of strength, a concept is taken if its generator unit correlates below DISTINCT with
    the unit of each concept taken before; if too few do, the strongest of the others are added.

    Args:
        dictionary: The opened inputs.
        count: How many; fewer are returned if there are fewer concepts.

    Returns:
        The chosen ones in order of strength.
    """
    concepts = dictionary.concepts
    similarity = unit_similarity(dictionary, concepts)
    taken: list[int] = []
    for place in range(len(concepts)):
        if all(similarity[place, other] < DISTINCT for other in taken):
            taken.append(place)
    others = [place for place in range(len(concepts)) if place not in taken]
    return [concepts[place] for place in sorted((taken + others)[:count])]


def unit_similarity(dictionary: Dictionary, concepts: Sequence[Concept]) -> np.ndarray:
    """Correlation of some concepts' generator units, on some images and a coarse grid.

    Enough to tell concepts apart; the correlations of the dictionary are exact.

    Args:
        dictionary: The opened inputs.
        concepts: Which.

    Returns:
        (concept, concept) Pearson correlation; 0 where a unit does not vary on these images.
    """
    # one contiguous run of images touches the fewest chunks, and samples have no order
    images = range(min(dictionary.images, 32))
    units = [concept.generator_unit for concept in concepts]
    maps = read_maps(dictionary.maps, ((unit, image) for unit in units for image in images))
    coarse = np.stack(
        [
            [
                heatmaps.resize(np.nan_to_num(maps[unit, image].astype(np.float32)), (16, 16))
                for image in images
            ]
            for unit in units
        ]
    ).reshape(len(units), -1)
    coarse = coarse - coarse.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(coarse, axis=1, keepdims=True)
    coarse = coarse / np.where(norms > 0, norms, 1.0)
    return coarse @ coarse.T


def choose_images(dictionary: Dictionary, concepts: Sequence[Concept], count: int) -> list[int]:
    """Choose images that together show some concepts, one after the other.

    Each next image is the one that raises the mean over the concepts of the strongest response on
    the images chosen so far the most. So every concept is strong somewhere and weak elsewhere.

    Args:
        dictionary: The opened inputs.
        concepts: The concepts to be shown.
        count: How many; fewer are returned if there are fewer images.

    Returns:
        Indices of images in the order chosen.
    """
    response = peaks(dictionary, concepts)
    strongest = np.zeros((len(concepts), 1), dtype=response.dtype)
    chosen: list[int] = []
    for _ in range(min(count, dictionary.images)):
        gain = np.maximum(response, strongest).mean(axis=0)
        gain[chosen] = -1.0
        chosen.append(int(np.argmax(gain)))
        strongest = np.maximum(strongest, response[:, chosen[-1:]])
    return chosen


def peaks(dictionary: Dictionary, concepts: Sequence[Concept]) -> np.ndarray:
    """How strongly some concepts' generator units respond on each image.

    Args:
        dictionary: The opened inputs.
        concepts: Which.

    Returns:
        The unit's maximum over positions on its colour scale, (concept, image), in [0, 1].
    """
    units = [concept.generator_unit for concept in concepts]
    maxima = unit_maxima(dictionary.maps, units, dictionary.images)
    ranges = unit_ranges(dictionary.moments, units)
    return np.stack([heatmaps.scale(maxima[unit], ranges[unit]) for unit in units])
