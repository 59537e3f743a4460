"""Tables of best buddies and of the dictionary: names stay names, and damage is named."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from rosetta_steps.display.exemplars import choose_concepts
from rosetta_steps.inversion.matches import read_matches
from rosetta_steps.maps.matched import matched_units
from rosetta_steps.matching.clustering import clustering
from rosetta_steps.matching.concepts import dictionary
from rosetta_steps.matching.settings import Clustering
from rosetta_steps.matching.tables import (
    BEST_BUDDIES,
    DICTIONARY,
    parsed,
    read_best_buddies,
    read_dictionary,
    write_table,
)
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.manifests import manifest_path
from rosetta_steps.testing import made

# What pandas would read as numbers, as missing, or as a truth value.
ODD = [
    "1",
    "1.10",
    "1.1",
    "007",
    "nan",
    "NA",
    "null",
    "",
    "None",
    "True",
    "1e3",
    "inf",
    "a,b",
    '"q"',
]


def buddies(layers=ODD) -> pd.DataFrame:
    rows = [(name, 0, name, place, 0.9 - place / 100, 1, 1) for place, name in enumerate(layers)]
    return pd.DataFrame(rows, columns=list(BEST_BUDDIES))


@pytest.fixture
def table(tmp_path):
    write_table(buddies(), tmp_path / "b.csv", made("best buddies", "null", "NA"))
    return tmp_path / "b.csv"


def test_names_of_layers_come_back_as_they_went(table):
    found = read_best_buddies(table, ["null", "NA"])
    pd.testing.assert_frame_equal(found, buddies(), check_dtype=False)
    assert found["layer_a"].tolist() == found["layer_b"].tolist() == ODD
    assert found["channel_b"].dtype.kind == "i" and found["correlation"].dtype.kind == "f"


def test_names_survive_every_step_that_reads_a_table(table, tmp_path):
    assert set(matched_units([table], "a")) == set(ODD)
    assert read_matches({"NA": table}, 1, -1.0, "null")["generator_layer"].tolist() == ODD
    units = len(ODD)
    names = {f"layer_{side}": (f"unit_{side}", np.array(ODD, dtype=object)) for side in "ab"}
    zeros = {f"channel_{side}": (f"unit_{side}", np.zeros(units, int)) for side in "ab"}
    itself = xr.Dataset({"correlation": (("unit_a", "unit_b"), np.eye(units))}, names | zeros)
    for method in ("average", "components"):
        clusters = clustering(Clustering(method, 0.3), read_best_buddies(table), itself)
        found = dictionary("null", {"NA": read_best_buddies(table)}, clusters)
        assert found["concept"].nunique() == units  # 1.1 and 1.10 are two
        write_table(found, tmp_path / "rosetta.csv", made("dictionary", "null", "NA"))
        again = read_dictionary(tmp_path / "rosetta.csv")
        pd.testing.assert_frame_equal(again, found, check_dtype=False)
        concepts = choose_concepts(again, ["NA"])
        assert {concept.generator_unit.layer for concept in concepts} == set(ODD)
        assert {concept.generator_unit.model for concept in concepts} == {"null"}


def test_a_table_without_rows_has_its_columns_and_types(tmp_path):
    write_table(pd.DataFrame(columns=list(DICTIONARY)), tmp_path / "r.csv", made("dictionary"))
    found = read_dictionary(tmp_path / "r.csv")
    assert found.empty and list(found) == list(DICTIONARY)
    assert found["correlation"].dtype.kind == "f" and found["channel"].dtype.kind == "i"


def test_a_table_of_other_models_is_refused_by_name(table):
    with pytest.raises(StoreError, match="is best buddies of null and NA on samples, of null"):
        read_best_buddies(table, ["null", "one"])
    assert manifest_path(table).exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[: len(text) // 2], "its content is another than was written"),
        (lambda text: text.replace(b",", b";"), "its content is another than was written"),
        (lambda text: b"", "its content is another than was written"),
    ],
)
def test_an_altered_table_is_named_and_made_again(table, damage, words):
    table.write_bytes(damage(table.read_bytes()))
    with pytest.raises(StoreError, match=f"b.csv is damaged: {words}.*snakemake --cores all"):
        read_best_buddies(table)
    assert not manifest_path(table).exists()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("correlation", 99.0, "its column correlation holds 99.0, which is no correlation"),
        ("correlation", "high", "its column correlation holds '.*', which is no correlation"),
        ("channel_a", -1, "its column channel_a holds -1, which is no index"),
        ("channel_b", 1.5, "its column channel_b holds .*, which is no index"),
        ("rank_a", 0, "its column rank_a holds 0, which is no rank"),
    ],
)
def test_values_that_a_column_cannot_have_are_refused(column, value, words):
    """Of a table that was written so, by whatever wrote it."""
    table = buddies().astype({column: object})
    table.loc[2, column] = value
    found = parsed(table.to_csv(index=False).encode(), BEST_BUDDIES)
    assert isinstance(found, str)
    assert re.search(words, found)


def test_a_row_that_is_there_twice_is_refused(tmp_path):
    twice = pd.concat([buddies(), buddies()[:1]])
    write_table(twice, tmp_path / "b.csv", made("best buddies", "a", "b"))
    with pytest.raises(StoreError, match=f"row {len(ODD) + 2} is there twice"):
        read_best_buddies(tmp_path / "b.csv")


def test_the_manifest_says_what_the_table_is(table):
    state = json.loads(manifest_path(table).read_text())
    assert state["name"] == "best buddies of null and NA on samples"
    assert state["rows"] == len(ODD) and state["file"] == "b.csv"
