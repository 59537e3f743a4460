"""A concept is called after its strongest unit, and what is no concept's name is answered."""

import numpy as np
import pandas as pd
import pytest

from rosetta_steps.matching.concepts import dictionary
from rosetta_steps.matching.identity import rows_of_concepts

STRENGTHS = {("main.2", 4): 0.6, ("main.2", 17): 0.9, ("main.5", 3): 0.7, ("main.5", 8): 0.5}


def mined(strengths, clusters):
    """A dictionary of units of a generator, each with one buddy in one model."""
    rows = [
        (layer, channel, "layer", number, r)
        for number, ((layer, channel), r) in enumerate(strengths.items())
    ]
    columns = ["layer_a", "channel_a", "layer_b", "channel_b", "correlation"]
    return dictionary("gan", {"model": pd.DataFrame(rows, columns=columns)}, clusters)


def in_pairs(units):
    return np.arange(len(units)) // 2


def test_a_concept_has_the_name_of_its_strongest_unit_in_all_its_rows():
    table = mined(STRENGTHS, in_pairs)
    assert list(table["concept_id"]) == ["main.2:17"] * 2 + ["main.5:3"] * 2
    assert list(table["concept"]) == [1, 1, 2, 2]


def test_the_name_stays_when_ranks_change():
    stronger = STRENGTHS | {("main.5", 3): 0.95}
    ranks = mined(stronger, in_pairs).drop_duplicates("concept").set_index("concept_id")["concept"]
    assert dict(ranks) == {"main.5:3": 1, "main.2:17": 2}


def test_rows_are_found_by_name():
    table = mined(STRENGTHS, in_pairs)
    found = rows_of_concepts(["main.5:3"], table)
    assert list(found["generator_channel"]) == [3, 8]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2", "2 is a rank, .*: 'main.5:3' has that rank now"),
        ("9", "9 is a rank, .*: none has that rank now"),
        ("main.2:4", "its unit is one of 2 of concept main.2:17. Write main.2:17 for all of these"),
        ("main.2:5", "no unit of that name in any. The nearest: main.2:17"),
        ("main.3:5", "no unit of that name in any. Did you mean"),
        ("main.3", "no concept main.3 in this dictionary"),
        ("", "no concept  in this dictionary"),
    ],
)
def test_what_is_no_name_of_a_concept_is_answered_with_the_one_that_is_meant(name, message):
    with pytest.raises(ValueError, match=message):
        rows_of_concepts([name], mined(STRENGTHS, in_pairs))


def test_a_dictionary_without_concepts_says_so():
    with pytest.raises(ValueError, match="the dictionary has no concepts"):
        rows_of_concepts(["main.2:4"], mined({}, in_pairs))
