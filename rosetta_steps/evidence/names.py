"""Plain names of units that low-level features explain, such as "brightness" or "left side".

A name is given where the features together explain at least half of a unit's variance and the
strongest of them correlates with it by at least 0.6: it says what the unit is in its images, not
what the network computes. Most units have none.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rosetta_steps.matching.tables import NAMES, write_table
from rosetta_steps.storage.datasets import open_dataset, open_each
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest
from rosetta_steps.zoo.models.low_level_names import FEATURES

KIND = "names"
EXPLAINED = 0.5  # share of a unit's variance, at least
STRONG = 0.6  # correlation of the strongest feature, at least
SMOOTH = "smooth areas"
# What a unit is called that follows a feature, and one that follows its opposite.
WORDS = {
    "luminance": ("brightness", "darkness"),
    "red_green": ("red", "green"),
    "yellow_blue": ("yellow", "blue"),
    "saturation": ("strong colours", "grey"),
    "contrast_1": ("fine contrast", SMOOTH),
    "contrast_2": ("contrast", SMOOTH),
    "contrast_4": ("coarse contrast", SMOOTH),
    "edges_1": ("fine edges", SMOOTH),
    "edges_2": ("edges", SMOOTH),
    "edges_4": ("coarse edges", SMOOTH),
    "lines_horizontal": ("horizontal lines", SMOOTH),
    "lines_falling": ("falling lines", SMOOTH),
    "lines_vertical": ("vertical lines", SMOOTH),
    "lines_rising": ("rising lines", SMOOTH),
    "x": ("right side", "left side"),
    "y": ("lower part", "upper part"),
    "radius": ("border", "centre"),
}


def plain_name(
    correlations: np.ndarray, explained: float, features: Sequence[str] = FEATURES
) -> str:
    """The plain name of a unit, or nothing.

    Args:
        correlations: Of the unit with each feature, (feature).
        explained: Share of its variance that they explain together, R².
        features: Their names.
    """
    strongest = int(np.argmax(np.abs(np.nan_to_num(correlations))))
    r = correlations[strongest]
    if not (explained >= EXPLAINED and abs(r) >= STRONG):
        return ""
    return WORDS[features[strongest]][int(r < 0)]


def names_of(sums: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Names of the units in sums over images, a row a unit: columns NAMES of matching.tables.

    A unit that is compared at several sizes is named at the smallest, which is nearest its own.

    Args:
        sums: As evidence.image_sums writes them, with the names of both models as attributes.
    """
    rows: dict[tuple[str, str, int], tuple[int, np.ndarray, float, list[str]]] = {}
    for of_pairs in sums:
        features = [str(name) for name in of_pairs["feature"].values]
        positions = of_pairs["positions"].values
        for side in "ab":
            model = str(of_pairs.attrs[f"model_{side}"])
            units = zip(
                of_pairs[f"layer_{side}"].values, of_pairs[f"channel_{side}"].values, strict=True
            )
            correlations = of_pairs[f"low_level_{side}"].values
            explained = of_pairs[f"explained_{side}"].values
            for place, (layer, channel) in enumerate(units):
                unit = (model, str(layer), int(channel))
                if unit not in rows or positions[place] < rows[unit][0]:
                    found = correlations[place], float(explained[place]), features
                    rows[unit] = (int(positions[place]), *found)
    named = []
    for unit, (_, r, share, features) in sorted(rows.items()):
        strongest = int(np.argmax(np.abs(np.nan_to_num(r))))
        name = plain_name(r, share, features)
        named.append((*unit, name, features[strongest], r[strongest], share))
    return pd.DataFrame(named, columns=list(NAMES))


def write_names(sums: Sequence[Path], output: Path, *, identity: str | None = None) -> None:
    """Write the plain names of units in best buddies.

    Args:
        sums: Sums over images of the generator's best buddies with each model.
        output: X.csv to write.
        identity: Identity of the result, as Provenance takes it.

    Raises:
        StoreError: A store is damaged, or they do not belong together.
    """
    made_of = ingredients(sums)
    states = [read_manifest(path) for path in sums]
    models = list(dict.fromkeys(model for state in states for model in state["models"]))
    provenance = Provenance(KIND, models, states[0]["sample_set"], made_of, identity)
    write_table(names_of(open_each(open_dataset, sums)), output, provenance)
