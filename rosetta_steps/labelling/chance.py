"""How high the best of many labels scores by chance.

The score of a label is Pearson's r, over all images, of a unit's mean on an image with the label on
it. The best of a thousand labels is high whatever the unit does. So the images of all labels are
permuted together, many times, which keeps how labels go with each other and how a unit's values
are distributed; of each unit the largest score of every permutation is what its best label would
score by chance (the maximum statistic: Westfall & Young 1993; Nichols & Holmes 2002). Its p is the
share of permutations, and of the labels as they are, in which the best scores at least as high.

All images are permuted, not those within a class as decoys of correlations are: that a unit
follows a class is what a label may say.
"""

from collections.abc import Iterator

import numpy as np
from scipy.stats import false_discovery_control

SEED = 0
SCORES_AT_ONCE = 2**25  # of units with labels, float32
ROUNDING = 1e-6  # by which float32 may miss a tie


def standardised(values: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1, so that products of rows are Pearson's r.

    Args:
        values: (row, image).

    Returns:
        (row, image) float64; NaN in rows that never vary or have a value that is no number.
    """
    values = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        centred = values - values.mean(1, keepdims=True)
        length = np.sqrt(np.square(centred).sum(1, keepdims=True))
        # What is left of a constant is rounding.
        least = 1e-12 * np.abs(values).max(1, initial=0.0, keepdims=True) * values.shape[1] ** 0.5
        return centred / np.where(length > least, length, np.nan)


def scores_of(units: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pearson's r of every unit with every label over all images, (unit, label).

    Args:
        units: (unit, image).
        labels: (label, image).

    Returns:
        float64; NaN where either never varies.
    """
    return np.clip(standardised(units) @ standardised(labels).T, -1, 1)


def best_by_chance(units: np.ndarray, labels: np.ndarray, permutations: int) -> np.ndarray:
    """Score of the best label of every unit in permutations of the images.

    Args:
        units: (unit, image); each varies.
        labels: (label, image); each varies.
        permutations: How many.

    Returns:
        (unit, permutation) float32. The permutations are the same in every call.
    """
    u, v = (np.ascontiguousarray(standardised(of), np.float32) for of in (units, labels))
    found = np.empty((len(u), permutations), np.float32)
    for number, order in enumerate(_orders(u.shape[1], permutations)):
        permuted = v[:, order].T
        for start in range(0, len(u), step := max(1, SCORES_AT_ONCE // len(v))):
            rows = slice(start, start + step)
            found[rows, number] = (u[rows] @ permuted).max(1)
    return found


def _orders(images: int, permutations: int) -> Iterator[np.ndarray]:
    for number in range(permutations):
        yield np.random.default_rng([SEED, number]).permutation(images)


def p_and_q(best: np.ndarray, by_chance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p and q of the best score of every unit.

    p compares a unit with its own permutations. q needs p far below the least that these can give,
    so it compares with those of all units: at a level t, the best scores that reach it by chance
    are as many as reach it in a permutation on average, however unlike the units are (Storey &
    Tibshirani 2003, doi 10.1073/pnas.1530509100; Benjamini & Hochberg 1995 on pooled p-values).

    Args:
        best: (unit).
        by_chance: (unit, permutation).

    Returns:
        p: (1 + permutations of the unit that reach its score) / (1 + permutations).
        q: Share of labels that are by chance, if units with a score as high are given theirs.
    """
    units, permutations = by_chance.shape
    reached = (by_chance >= best[:, None] - ROUNDING).sum(1)
    pooled = np.sort(by_chance, axis=None)
    above = pooled.size - np.searchsorted(pooled, best - ROUNDING)
    p_of_all = (1 + above) / (1 + units * permutations)
    return (1 + reached) / (1 + permutations), false_discovery_control(p_of_all)
