"""Concepts of two dictionaries are paired by the units that they share, and each has one fate."""

import numpy as np
import pandas as pd
import pytest

from rosetta_steps.matching.compared import compared, in_words
from rosetta_steps.matching.concepts import dictionary


def mined(*concepts, strength=0.9):
    """A dictionary with these channels in its concepts, the first the strongest of each."""
    members = [(channel, number) for number, one in enumerate(concepts) for channel in one]
    rows = [
        ("main.2", channel, "layer", place, strength - place / 100)
        for place, (channel, _) in enumerate(members)
    ]
    columns = ["layer_a", "channel_a", "layer_b", "channel_b", "correlation"]
    of = dict(members)
    return dictionary(
        "gan",
        {"model": pd.DataFrame(rows, columns=columns)},
        lambda units: units["generator_channel"].map(of).to_numpy(),
    )


FIRST = mined([1, 2], [3, 4, 5], [6], [7, 8, 9, 10], [20])


def fates(second):
    """Status, and the channels of the ids in both."""
    table = compared(FIRST, second)
    return {
        (
            row.status,
            row.concept_id_a.removeprefix("main.2:"),
            row.concept_id_b.removeprefix("main.2:"),
        )
        for row in table.itertuples()
    }


def test_a_dictionary_and_itself_have_the_same_concepts():
    table = compared(FIRST, FIRST)
    assert set(table["status"]) == {"kept"} and (table["overlap"] == 1).all()
    assert "5 of 5 concepts that survive (100 %) have the same id" in in_words(table)


def test_concepts_are_kept_changed_merged_gone_split_and_new():
    # 6 goes to 3, 7 to 10 are parted, 20 has no match any more, and 30 comes.
    second = mined([3, 4, 5, 6], [1, 2], [8, 7], [9], [10], [30])
    assert fates(second) == {
        ("kept", "1", "1"),
        ("changed", "3", "3"),
        ("merged", "6", "3"),
        ("changed", "7", "8"),
        ("split", "7", "9"),
        ("split", "7", "10"),
        ("gone", "20", ""),
        ("new", "", "30"),
    }
    words = in_words(compared(FIRST, second))
    assert (
        "Of 5 concepts of A, 1 are kept, 2 have other units, 1 are merged into another, 1" in words
    )
    assert "Of 6 concepts of B, 2 split off from another, 1 are new" in words
    assert "2 of 3 concepts that survive (67 %) have the same id" in words


def test_a_concept_is_merged_or_split_only_with_more_than_half_of_its_units():
    # The largest concept of A is spread: 4 units here, 5 there, 1 nowhere.
    first = mined(range(10), range(20, 24))
    second = mined([*range(20, 24), 0, 1, 2, 8], [*range(3, 8), *range(100, 112)])
    table = compared(first, second)
    found = {
        (row.status, row.concept_id_a, row.concept_id_b) for row in table.itertuples(index=False)
    }
    main = "main.2:"
    assert found == {
        ("gone", f"{main}0", ""),
        ("changed", f"{main}20", f"{main}20"),
        ("new", "", f"{main}3"),
    }


def test_a_row_has_ranks_sizes_overlap_and_strengths_of_both():
    table = compared(FIRST, mined([3, 4, 5, 6], [1, 2], strength=0.8))
    row = table[table["concept_id_a"] == "main.2:3"].iloc[0]
    assert tuple(row[["concept_a", "concept_b", "units_a", "units_b", "shared"]]) == (2, 1, 3, 4, 3)
    np.testing.assert_allclose(
        row[["overlap", "strength_a", "strength_b"]].astype(float), [0.75, 0.88, 0.8]
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_concept_has_one_fate_whatever_the_two_are(seed):
    random = np.random.default_rng(seed)
    both = []
    for _ in "ab":
        channels = random.permutation(60)[: random.integers(0, 50)]
        cuts = np.sort(random.choice(len(channels) + 1, 8))
        both.append(mined(*(part.tolist() for part in np.split(channels, cuts) if len(part))))
    table = compared(*both)
    for of, name, others in (
        (both[0], "concept_id_a", ("new", "split")),
        (both[1], "concept_id_b", ("gone", "merged")),
    ):
        own = table[~table["status"].isin(others)][name]
        assert sorted(own) == sorted(set(of["concept_id"]))
    in_words(table)
