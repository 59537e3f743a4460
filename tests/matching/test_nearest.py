"""The nearest partners are those that sorting each whole row gives, ties and gaps included."""

import numpy as np
import pytest

from rosetta_steps.matching.nearest import nearest


def sorted_whole(table, neighbours):
    distance = np.where(np.isnan(table), np.inf, -table)
    partner = np.argsort(distance, axis=1, kind="stable")[:, :neighbours]
    values = np.take_along_axis(table, partner, 1)
    return np.where(np.isnan(values), -1, partner), values


def tables():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 30)).astype(np.float32)
    gaps, silent = table.copy(), table.copy()
    gaps[rng.random(table.shape) < 0.9] = np.nan
    silent[3], silent[:, 7] = np.nan, np.nan
    return {
        "all different": table,
        "many equal": np.round(table, 1),
        "all equal": np.zeros_like(table),
        "few partners": gaps,
        "units that never vary": silent,
        "fewer columns than K": table[:, :3],
        "no columns": table[:, :0],
    }


@pytest.mark.parametrize("neighbours", [1, 5])
@pytest.mark.parametrize("case", tables())
def test_they_are_those_of_a_stable_sort(case, neighbours):
    table = tables()[case]
    found = nearest(table, neighbours)
    partner, values = sorted_whole(table, neighbours)
    np.testing.assert_array_equal(found.partner, partner)
    np.testing.assert_array_equal(found.correlation, values)
