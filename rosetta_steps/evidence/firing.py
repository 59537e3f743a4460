"""Do the models of a concept fire on the same images, and is it that of all of them?

Source: Thasarathan et al. 2025, Universal Sparse Autoencoders (arXiv 2502.03714), equations 11 to
14, which count fires of a code that the models share. Units of different models have no code in
common, so each has a threshold of its own, and by their thresholds all models fire equally often:
the entropy of these counts would be 1 of every concept. So a model's fires are counted on the
images on which the generator's unit fires.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rosetta_steps.evidence.coverage import at_least
from rosetta_steps.matching.tables import FIRING

SHARE = 0.05  # of all images, on which a unit fires


@dataclass(frozen=True)
class Responses:
    """What the units that represent a concept give on every image.

    Attributes:
        concept_id: Of the concept.
        concept: Its rank.
        generator: (model, image), the generator's unit at the size at which it is compared with
            each model's.
        models: (model, image), the unit of each model.
    """

    concept_id: str
    concept: int
    generator: np.ndarray
    models: np.ndarray


def fires(values: np.ndarray, share: float = SHARE) -> np.ndarray:
    """Return on which images units fire: those of their highest values.

    Args:
        values: (..., image).
        share: Of the images, at least one of them; of a single image none fires.

    Returns:
        (..., image); fewer than the share where values are tied, none where a unit never varies.
    """
    images = values.shape[-1]
    count = min(max(1, round(share * images)), images - 1)
    threshold = np.sort(values, axis=-1)[..., -count - 1]
    return values > threshold[..., np.newaxis]


def co_firing(fired: np.ndarray) -> pd.DataFrame:
    """Count the images on which at least so many models fire.

    Args:
        fired: (model, image).

    Returns:
        A row a number of models, from 1: at_least, images, share (of the images on which one fires,
        NaN where none does) and by_chance (the share that independent models would have).
    """
    together, rates = fired.sum(0), fired.mean(1)
    rows = []
    for least in range(1, len(fired) + 1):
        images, likely = int((together >= least).sum()), at_least(least, rates)
        rows.append({"at_least": least, "images": images, "likely": likely})
    table = pd.DataFrame(rows)
    some = table.iloc[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        table["share"] = table["images"] / np.float64(some["images"])
        table["by_chance"] = table["likely"] / np.float64(some["likely"])
    return table[["at_least", "images", "share", "by_chance"]]


def firing_entropy(counts: np.ndarray) -> float:
    """Entropy of the fires of a concept over its models, divided by its maximum (eqs. 12 and 13).

    Args:
        counts: Fires of each model.

    Returns:
        From 0 (one model alone) to 1 (all alike); NaN without fires, or of one model.

    >>> firing_entropy(np.array([4, 4])), firing_entropy(np.array([4, 0]))
    (1.0, 0.0)
    """
    if len(counts) < 2 or not counts.sum():
        return float("nan")
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, float(-(shares * np.log(shares)).sum() / np.log(len(counts))))


def firing(concepts: Iterable[Responses]) -> pd.DataFrame:
    """Count the fires of every concept.

    Args:
        concepts: Their responses.

    Returns:
        As FIRING: a row a concept and number of models.
    """
    parts = [pd.DataFrame(columns=list(FIRING))]
    for one in concepts:
        of_models, of_generator = fires(one.models), fires(one.generator)
        counts = (of_models & of_generator).sum(1)
        part = co_firing(of_models).assign(entropy=firing_entropy(counts))
        parts.append(part.assign(concept_id=one.concept_id, concept=one.concept)[list(FIRING)])
    return pd.concat(parts[1:] or parts, ignore_index=True)
