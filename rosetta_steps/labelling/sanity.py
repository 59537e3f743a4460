"""The missing and the extra labels test: does a score fall when its label is made wrong?

Oikarinen, Yan & Weng (ICML 2025, arXiv 2506.05774), "Evaluating Neuron Explanations: A Unified
Framework with Sanity Checks", put metrics to two tests: where half of the images that have a
concept lose it (c-), and where as many others are given it (c+), the score must fall.
Pearson's r over all images is one of the five of their metrics that pass both. Here the same two
tests are put to a single unit and its label. With P the images that have the label,

    c-  a random half of P (rounded up) gets the mean of the images that are not in P
    c+  |P| random others, at most half of them, get the mean of P

many times over, and the label passes where the score falls by more than 0.001 (their epsilon) in
at least 95 % of the draws. What fails is a label that a few images carry: a half that keeps them
scores as high.

P are the images of the larger value where a label has two; of one with more values those above its
third quartile, or where none is, those of its largest value. The paper's concepts are 0 and 1,
whose c- and c+ these are, but for a fixed number in place of an expected one.
"""

import numpy as np

from rosetta_steps.labelling.chance import scores_of

DRAWS, PASSING = 100, 0.95  # of which so many must fall
EPSILON = 0.001
SEED = 1
COLUMNS = (
    "score_with_labels_missing",
    "missing_falls",
    "score_with_extra_labels",
    "extra_falls",
)
THIRD_QUARTILE = 0.75


def has_label(values: np.ndarray) -> np.ndarray:
    """Images that have a label, (image) bool.

    Args:
        values: The label on every image, (image).
    """
    if len(np.unique(values)) > 2:
        above = values > np.quantile(values, THIRD_QUARTILE)
        if above.any():
            return above
    return (values == values.max()) & (values > values.min())


def without_half(values: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A label that half of its images lost, (image)."""
    has = has_label(values)
    lost = draw.choice(np.flatnonzero(has), -(-int(has.sum()) // 2), replace=False)
    changed = values.astype(np.float64)
    changed[lost] = values[~has].mean()
    return changed


def with_as_many_more(values: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A label that as many other images have besides, at most half of these, (image)."""
    has = has_label(values)
    others = np.flatnonzero(~has)
    given = draw.choice(others, min(int(has.sum()), -(-len(others) // 2)), replace=False)
    changed = values.astype(np.float64)
    changed[given] = values[has].mean()
    return changed


def falls(units: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """Put a label of some units to both tests, with the same draws for all of them.

    Args:
        units: Their values on every image, (unit, image); each varies.
        label: (image); it varies.

    Returns:
        COLUMNS of matching.tables.LABELS, each (unit): mean score with half of its images missing,
        share of the draws in which the score fell, and both with as many more images. A score of
        what never varies any more counts as 0.
    """
    score = scores_of(units, label[None])
    found = []
    for number, change in enumerate((without_half, with_as_many_more)):
        changed = [
            change(label, np.random.default_rng([SEED, number, one])) for one in range(DRAWS)
        ]
        scores = np.nan_to_num(scores_of(units, np.stack(changed)))
        found += [scores.mean(1), (scores < score - EPSILON).mean(1)]
    return dict(zip(COLUMNS, found, strict=True))
