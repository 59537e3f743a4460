"""Stores of labels on every image: `score` (image, label), from a file of one's own or of words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from rosetta_steps.storage.datasets import open_dataset, write_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest

OWN, WORDS = "csv", "open_clip"  # sources of labels, as the table of labels has them


def write_scores(
    values: np.ndarray | Sequence[Sequence[float]],
    labels: Sequence[str],
    samples: Path,
    output: Path,
    *,
    source: str,
    attrs: dict,
    made_of: dict[str, str] | None = None,
    identity: str | None = None,
) -> None:
    """Write labels on every image of a sample set.

    Args:
        values: (image, label), larger where the label is more present.
        labels: Their names.
        samples: Store of the images.
        output: Store to write.
        source: Where they come from, OWN or WORDS.
        attrs: What else is to be known of them.
        made_of: Names and digests of other inputs, such as weights.
        identity: Identity of the result, as Provenance takes it.

    Raises:
        StoreError: The samples are not finished.
    """
    found = xr.Dataset(
        {"score": (("image", "label"), np.asarray(values, np.float64))},
        {"label": list(labels)},
        {"source": source, **attrs},
    )
    sample_set = read_manifest(samples)["sample_set"]
    origin = Provenance(
        f"labels from {source}", (), sample_set, ingredients([samples], made_of), identity
    )
    write_dataset(found, output, origin)


def read_scores(paths: Sequence[Path]) -> tuple[np.ndarray, list[str], list[str]]:
    """Labels of several stores on the same images.

    Returns:
        Scores (image, label) float64, and of each label its name and its source.

    Raises:
        StoreError: A store is damaged.
    """
    values, labels, sources = [], [], []
    for path in paths:
        with open_dataset(path) as store:
            values.append(store["score"].values)
            labels += [str(label) for label in store["label"].values]
            sources += [str(store.attrs["source"])] * store.sizes["label"]
    return np.concatenate(values, 1), labels, sources
