"""In how many models a unit has a match, with an error that is held."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from rosetta_steps.evidence.agreement import (
    discoveries,
    models_that_hold,
    partial_conjunction,
    unit_p_values,
)

UNITS = 200


ALL = pd.DataFrame({"layer": "g", "channel": range(UNITS)})


def pairs_of(values):
    """One best buddy of every unit, by its strength; NaN: it has none."""
    table = pd.DataFrame({"layer_a": "g", "channel_a": range(len(values)), "left": values})
    return table.dropna()


def test_a_p_value_counts_units_of_decoys_that_are_as_strong_and_is_never_0():
    pairs = pd.concat([pairs_of([0.9, 0.5, 0.3]), pairs_of([0.2, 0.6, np.nan])])
    decoys = [pairs_of([0.5, np.nan, 0.1]), pairs_of([0.4, 0.6, np.nan])]
    found = unit_p_values(ALL[:4], pairs, decoys).set_index("channel")
    assert found["left"].dropna().to_dict() == {0: 0.9, 1: 0.6, 2: 0.3}, "a unit's strongest counts"
    assert found["p"].to_dict() == {0: 1 / 9, 1: 2 / 9, 2: 4 / 9, 3: 1}
    assert unit_p_values(ALL[:4], pairs, [])["p"].isna().all()


def test_the_partial_conjunction_is_the_rule_of_bonferroni_on_the_models_that_are_left():
    p = np.array([[0.01, 0.5, 0.02], [0.9, 0.6, 0.7]])
    np.testing.assert_allclose(partial_conjunction(p, 1), [0.03, 1])
    np.testing.assert_allclose(partial_conjunction(p, 2), [0.04, 1])
    np.testing.assert_allclose(partial_conjunction(p, 3), [0.5, 0.9])


def test_units_with_a_match_in_so_many_models_are_found_and_few_others():
    random = np.random.default_rng(0)
    tables = []
    for model in range(3):  # the first 60 units have a match in one, the first 40 in two, 20 in all
        values = random.uniform(0, 0.3, UNITS)
        values[: 60 - 20 * model] += 0.5
        decoys = [pairs_of(random.uniform(0, 0.3, UNITS)) for _ in range(3)]
        tables.append(unit_p_values(ALL, pairs_of(values), decoys))
    counts = models_that_hold(tables)
    for least, true in ((1, 60), (2, 40), (3, 20)):
        assert true <= counts[least] <= true * 1.1


def test_by_chance_alone_nearly_nothing_is_found():
    random = np.random.default_rng(1)
    found = []
    for _ in range(200):
        tables = [
            unit_p_values(ALL, pairs_of(random.random(UNITS)), [pairs_of(random.random(UNITS))])
            for _ in range(3)
        ]
        found.append(models_that_hold(tables)[1] > 0)
    assert np.mean(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_without_p_values_nothing_is_counted_and_without_best_buddies_nothing_holds():
    none = unit_p_values(ALL, pairs_of([]), [pairs_of([0.5])])
    assert models_that_hold([none, none]).tolist() == [0, 0]
    unknown = unit_p_values(ALL, pairs_of([0.5]), [])
    assert models_that_hold([]).empty and models_that_hold([none, unknown]).empty


@pytest.mark.parametrize("level", [0.001, 0.05, 0.3])
def test_discoveries_are_those_of_benjamini_and_hochberg(level):
    random = np.random.default_rng(5)
    p = np.concatenate([random.random(300), random.random(50) ** 6, [1.0, 0.0]])
    assert discoveries(p, level) == (false_discovery_control(p) <= level).sum()
    assert discoveries(np.ones(3), level) == discoveries(np.empty(0), level) == 0
