"""What survives is counted as a reader would count it by hand."""

import numpy as np
import pandas as pd

from rosetta_steps.evidence.survival import (
    ALL,
    models_that_agree,
    passed_untested,
    survival,
    surviving_units,
)
from rosetta_steps.evidence.verdicts import failures, verdicts
from rosetta_steps.matching.identity import concept_ids
from rosetta_steps.matching.tables import DICTIONARY, EVIDENCE, NUMBER


def evidence(rows):
    """A table of evidence from (unit of a, unit of b, partial correlation, low end)."""
    table = pd.DataFrame(
        {
            name: np.full(len(rows), np.nan if kind == NUMBER else 0)
            for name, kind in EVIDENCE.items()
        }
    ).assign(layer_a="a", layer_b="b", correlation=0.8, verdict="")
    for number, column in enumerate(("channel_a", "channel_b", "partial_low_level", "low")):
        table[column] = [row[number] for row in rows]
    return table.assign(verdict=verdicts(failures(table, 0.05)))


# Unit 1 fails the low-level test with both its buddies in y, unit 2 has no buddy there.
X = evidence([(0, 0, 0.7, 0.5), (1, 1, 0.7, 0.5), (2, 2, 0.6, -0.1)])
Y = evidence([(0, 0, 0.1, 0.5), (0, 3, 0.7, 0.5), (1, 1, 0.1, 0.5), (1, 2, 0.2, 0.5)])
ROSETTA = pd.DataFrame(
    [
        (1, "g", "a", 0, "x", "b", 0, 0.8),
        (1, "g", "a", 0, "y", "b", 3, 0.8),
        (2, "g", "a", 1, "x", "b", 1, 0.8),
        (2, "g", "a", 1, "y", "b", 1, 0.8),
    ],
    columns=list(DICTIONARY)[:-1],
).assign(concept_id=concept_ids)


def test_a_verdict_counts_the_tests_made_and_names_those_that_failed():
    assert list(X["verdict"]) == ["2 of 2", "2 of 2", "1 of 2: uncertain"]
    assert list(Y["verdict"])[:2] == ["1 of 2: low level", "2 of 2"]
    row = evidence([(0, 0, np.nan, -0.1)])
    assert list(row["verdict"]) == ["0 of 1: uncertain"]  # what was not made is not counted


def test_units_survive_where_a_buddy_in_every_model_does():
    assert surviving_units({"x": X, "y": Y}) == {("a", 0)}
    counts = survival({"x": X, "y": Y}, ROSETTA).set_index("badge")
    assert list(counts.index) == ["low level", "uncertain", ALL]
    assert tuple(counts.loc["low level", ["pairs_tested", "pairs", "units", "concepts"]]) == (
        7, 4, 1, 1,
    )  # fmt: skip
    assert tuple(counts.loc["uncertain", ["pairs", "units", "concepts"]]) == (6, 2, 2)
    assert tuple(counts.loc[ALL, ["pairs_tested", "pairs", "units", "concepts"]]) == (7, 3, 1, 1)


def test_pairs_that_pass_because_a_test_was_not_made_of_them_are_counted():
    partly = evidence([(0, 0, 0.7, np.nan), (1, 1, 0.1, np.nan), (2, 2, 0.7, 0.5)])
    assert passed_untested({"x": X, "y": partly}) == 1
    assert passed_untested({"x": X, "y": Y}) == passed_untested({"y": partly[:2]}) == 0


def test_units_are_counted_by_the_models_that_agree_on_them():
    assert dict(models_that_agree({"x": X, "y": Y})) == {1: 2, 2: 1}


def test_without_any_pair_nothing_survives():
    empty = X.iloc[:0]
    counts = survival({"x": empty}, ROSETTA.iloc[:0])
    assert list(counts["badge"]) == [ALL] and counts["pairs"].iloc[0] == 0
    assert dict(models_that_agree({"x": empty})) == {1: 0}
