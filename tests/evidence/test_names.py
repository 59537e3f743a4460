"""Plain names of units that low-level features explain."""

import numpy as np
import pytest
import xarray as xr

from rosetta_steps.evidence.low_level import FEATURES
from rosetta_steps.evidence.names import WORDS, names_of, plain_name, write_names
from rosetta_steps.matching.tables import NAMES, read_names
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.testing import made


def with_feature(**correlations):
    found = np.full(len(FEATURES), 0.1)
    for name, r in correlations.items():
        found[FEATURES.index(name)] = r
    return found


def test_every_feature_has_a_name_for_units_that_follow_it_and_for_their_opposite():
    assert tuple(WORDS) == FEATURES


@pytest.mark.parametrize(
    ("correlations", "explained", "name"),
    [
        (with_feature(luminance=0.9), 0.9, "brightness"),
        (with_feature(luminance=-0.6), 0.5, "darkness"),
        (with_feature(yellow_blue=-0.7, red_green=0.65), 0.6, "blue"),
        (with_feature(x=-0.8), 0.7, "left side"),
        (with_feature(edges_1=-0.8), 0.7, "smooth areas"),
        (with_feature(luminance=0.9), 0.49, ""),
        (with_feature(luminance=0.59), 0.8, ""),  # explained by many features together
        (np.full(len(FEATURES), np.nan), np.nan, ""),
    ],
)
def test_a_unit_has_the_name_of_its_strongest_feature_where_both_limits_are_met(
    correlations, explained, name
):
    assert plain_name(correlations, explained) == name


def sums(model, channels, positions, of_a, of_b, explained=0.8):
    pairs = len(channels)
    features = np.stack([of_b] * pairs)
    return xr.Dataset(
        {
            "positions": ("pair", positions),
            "low_level_a": (("pair", "feature"), np.stack(of_a)),
            "low_level_b": (("pair", "feature"), features),
            "explained_a": ("pair", [explained] * pairs),
            "explained_b": ("pair", [explained] * pairs),
        },
        {
            "layer_a": ("pair", ["l"] * pairs),
            "channel_a": ("pair", [3] * pairs),
            "layer_b": ("pair", ["1.10"] * pairs),
            "channel_b": ("pair", channels),
            "feature": list(FEATURES),
        },
        {"model_a": "gan", "model_b": model},
    )


@pytest.fixture
def both():
    """One unit of the generator, compared at 16, 64 and 4 positions."""
    red, dark = with_feature(red_green=0.7), with_feature(luminance=-0.8)
    return [
        sums("one", [5, 6], [16, 64], [red, dark], with_feature(y=0.9)),
        sums("two", [5], [4], [with_feature(radius=0.61)], with_feature(saturation=0.5)),
    ]


def test_a_unit_is_named_once_at_the_smallest_size_at_which_it_is_compared(both):
    table = names_of(both).set_index(["model", "channel"])
    assert list(names_of(both).columns) == list(NAMES) and len(table) == 4
    assert table.loc[("gan", 3), ["name", "feature", "r"]].tolist() == ["border", "radius", 0.61]
    assert table.loc[("one", 6), "name"] == "lower part"
    assert table.loc[("two", 5), ["name", "feature", "r"]].tolist() == ["", "saturation", 0.5]
    assert names_of(both[:1]).set_index("model").loc["gan", "name"] == "red"


def test_the_table_of_names_is_read_back(both, tmp_path):
    paths = []
    for part in both:
        paths.append(tmp_path / f"gan--{part.attrs['model_b']}.zarr")
        write_dataset(part, paths[-1], made("image sums", "gan", part.attrs["model_b"]))
    write_names(paths, tmp_path / "names.csv")
    table = read_names(tmp_path / "names.csv")
    assert set(table["layer"]) == {"l", "1.10"} and table["name"].tolist().count("") == 1
