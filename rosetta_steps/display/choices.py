"""Selection of the concepts and images that a figure shows."""

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

FIRST_COMPARED = 16  # concepts; the first few are mostly as different as is asked for
DISTINCT = 0.4  # correlation of two generator units below which their concepts look different


def choose_distinct(dictionary: Dictionary, count: int) -> list[Concept]:
    """Choose strong concepts whose maps differ from each other.

    Concepts are considered in order of strength. A concept is chosen if its generator unit
    correlates below DISTINCT with the unit of every concept chosen before. If too few are, the
    strongest of the others are added.

    Args:
        dictionary: The opened inputs.
        count: Number of concepts; fewer are returned if there are fewer.

    Returns:
        The chosen concepts in order of strength.
    """
    concepts = dictionary.concepts
    similarity = np.empty((0, 0))
    taken: list[int] = []
    for place in range(len(concepts)):
        if len(taken) == count:
            break
        if place == len(similarity):
            compared = concepts[: max(FIRST_COMPARED, 2 * place)]
            similarity = unit_similarity(dictionary, compared)
        if all(similarity[place, other] < DISTINCT for other in taken):
            taken.append(place)
    others = [place for place in range(len(concepts)) if place not in taken]
    return [concepts[place] for place in sorted((taken + others)[:count])]


def unit_similarity(dictionary: Dictionary, concepts: Sequence[Concept]) -> np.ndarray:
    """Return the correlations of concepts' generator units on some images and a coarse grid.

    This estimate suffices to tell concepts apart; the correlations of the dictionary are exact.

    Args:
        dictionary: The opened inputs.
        concepts: Concepts to compare.

    Returns:
        Pearson correlations (concept, concept); 0 if a unit does not vary on these images.
    """
    # A contiguous run of images touches the fewest chunks, and samples are in no special order.
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
    """Choose images, one at a time, that together show some concepts well.

    For each concept take its strongest response on the images chosen so far, and average over
    concepts. The next image is the one that raises this mean most. So every concept is strong on
    some image and weak on others.

    Args:
        dictionary: The opened inputs.
        concepts: The concepts to be shown.
        count: Number of images; fewer are returned if there are fewer.

    Returns:
        Indices of the images in the order in which they were chosen.
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
    """Return the strongest response of concepts' generator units on each image.

    Args:
        dictionary: The opened inputs.
        concepts: Concepts whose units are read.

    Returns:
        Maximum over positions on the unit's colour scale, (concept, image), in [0, 1].
    """
    units = [concept.generator_unit for concept in concepts]
    maxima = unit_maxima(dictionary.maps, units, dictionary.images)
    ranges = unit_ranges(dictionary.moments, units)
    return np.stack([heatmaps.scale(maxima[unit], ranges[unit]) for unit in units])
