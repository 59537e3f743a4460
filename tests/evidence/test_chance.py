"""q-values by target-decoy: as defined, calibrated, and never 0."""

import numpy as np
import pytest

from rosetta_steps.evidence.chance import q_values
from rosetta_steps.matching.best_buddies import best_buddies
from rosetta_steps.matching.nearest import nearest


def by_definition(values, decoys):
    """The least FDR over all levels that let a pair through, one at a time."""
    levels = np.sort(values[~np.isnan(values)])

    def rate(level):
        chance = np.mean([(decoy >= level).sum() for decoy in decoys])
        return (1 + chance) / (values >= level).sum()

    return np.array([min(1, *(rate(t) for t in levels if t <= v), 1) for v in values])


@pytest.mark.parametrize("seed", range(5))
def test_q_is_the_least_rate_of_all_levels_that_let_a_pair_through(seed):
    random = np.random.default_rng(seed)
    values = random.normal(1, 1, 60).round(1)  # with ties
    decoys = [random.normal(0, 1, n).round(1) for n in (50, 70, 0)]
    np.testing.assert_allclose(q_values(values, decoys), by_definition(values, decoys))


def test_q_is_never_0_and_pairs_without_a_value_have_none():
    values = np.array([0.9, np.nan, 0.8, 0.7])
    q = q_values(values, [np.array([0.1]), np.array([0.2])])
    np.testing.assert_allclose(q, [1 / 3, np.nan, 1 / 3, 1 / 3])


def test_without_a_decoy_there_is_no_q():
    with pytest.raises(ValueError, match="no decoy"):
        q_values(np.ones(3), [])


def mined(table, neighbours):
    pairs = best_buddies(nearest(table, neighbours), nearest(table.T, neighbours))
    return pairs["correlation"].to_numpy(), pairs[["unit_a", "unit_b"]].to_numpy()


def tables(seed, true, decoys, images=120, units=(60, 150), latent=20):
    """Correlations of two models that share some units, and the same with images moved."""
    random = np.random.default_rng(seed)
    a, b = (random.normal(size=(images, latent)) @ random.normal(size=(latent, n)) for n in units)
    b[:, :true] = a[:, :true] + 0.7 * a[:, :true].std() * random.normal(size=(images, true))
    found = []
    for moved in [np.arange(images), *(random.permutation(images) for _ in range(decoys))]:
        x, y = ((m - m.mean(0)) / m.std(0) for m in (a, b[moved]))
        found.append(x.T @ y / images)
    return found[0], found[1:]


@pytest.mark.parametrize("neighbours", [1, 5])
def test_of_the_pairs_below_a_level_no_larger_share_is_false(neighbours):
    level, shares, power = 0.1, [], []
    for seed in range(30):
        table, decoys = tables(seed, true=25, decoys=3)
        values, pairs = mined(table, neighbours)
        q = q_values(values, [mined(decoy, neighbours)[0] for decoy in decoys])
        # A copied unit is related to all of a, whose units mix the same latent factors.
        false, copy = pairs[:, 1] >= 25, pairs[:, 0] == pairs[:, 1]
        shares.append((false & (q <= level)).sum() / max(1, (q <= level).sum()))
        power.append((copy & ~false & (q <= level)).sum() / 25)
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= level + 2 * error
    assert np.mean(power) > 0.9


def test_nothing_is_found_where_nothing_is_shared():
    found = []
    for seed in range(200):
        table, decoys = tables(seed, true=0, decoys=1, images=60, units=(30, 60))
        values, _ = mined(table, 5)
        found.append((q_values(values, [mined(decoys[0], 5)[0]]) <= 0.05).any())
    # Nominal is 5 % of the runs, within two standard errors of 200 of them.
    assert np.mean(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
