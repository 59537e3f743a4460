"""Which units get a label: those that follow one, and of noise no more than the level says."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from rosetta_steps.labelling.chance import best_by_chance, p_and_q, scores_of, standardised
from rosetta_steps.labelling.settings import Labelling
from rosetta_steps.labelling.table import labels_of, verdict
from rosetta_steps.matching.tables import LABEL, LABELS

IMAGES = 300
# Every label counts, however weak, so that chance alone decides.
ANY_SCORE = Labelling(min_score=0, permutations=400)


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def names_of(count):
    return pd.DataFrame({"model": "m", "layer": "1.10", "channel": range(count)})


def labelled(values, scores, settings=ANY_SCORE):
    names = [f"label {n}" for n in range(scores.shape[1])]
    units, sources = names_of(len(values)), ["csv"] * len(names)
    table = labels_of(units, values, scores, names, sources, settings=settings)
    assert list(table) == list(LABELS)
    return table


def test_a_score_is_pearsons_r_over_all_images(draw):
    units, labels = draw.normal(size=(3, 40)) * 1e-3 + 5, draw.normal(size=(4, 40))
    expected = [[pearsonr(u, v).statistic for v in labels] for u in units]
    np.testing.assert_allclose(scores_of(units, labels), expected, rtol=1e-9)


def test_what_never_varies_has_no_score_rather_than_zero(draw):
    rows = np.stack([np.full(40, 0.1), np.full(40, 1e9 / 3), draw.normal(size=40)])
    assert np.isnan(standardised(rows)).all(1).tolist() == [True, True, False]
    with_nan = rows[2:].copy()
    with_nan[0, 3] = np.nan
    assert np.isnan(scores_of(with_nan, rows[2:])).all()


def test_the_best_by_chance_is_the_largest_score_with_permuted_images(draw):
    units, labels = draw.normal(size=(3, 30)), draw.normal(size=(5, 30))
    found = best_by_chance(units, labels, 4)
    for number in range(4):
        order = np.random.default_rng([0, number]).permutation(30)
        expected = scores_of(units, labels[:, order]).max(1)
        np.testing.assert_allclose(found[:, number], expected, atol=1e-6)


def test_p_counts_the_permutations_that_reach_a_score_and_is_never_0():
    by_chance = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.1, 0.1]], np.float32)
    p, q = p_and_q(np.array([0.3, 0.9]), by_chance)
    np.testing.assert_allclose(p, [3 / 5, 1 / 5])
    # Of all eight, three reach 0.3, and none 0.9, which is the first of two.
    np.testing.assert_allclose(q, [4 / 9, 2 * 1 / 9])


def test_q_lets_a_single_label_of_many_units_through(draw):
    best, by_chance = np.r_[0.9, np.full(499, 0.1)], draw.uniform(0, 0.3, (500, 100))
    p, q = p_and_q(best, by_chance)
    assert q[0] < 0.05 < q[1:].min() and p[0] == 1 / 101


@pytest.mark.parametrize("labels", [1, 50])
def test_of_units_without_a_label_no_more_are_beyond_their_own_chance_than_the_level(draw, labels):
    units = draw.normal(size=(400, IMAGES))
    units[::2] = np.maximum(units[::2] - 2, 0)  # those that rarely respond too
    of_images = draw.normal(size=(labels, IMAGES))
    of_images[::3] = of_images[::3] > 1.5
    chance = best_by_chance(units, of_images, 400)
    p, _ = p_and_q(scores_of(units, of_images).max(1), chance)
    for some in (slice(None, None, 2), slice(1, None, 2)):
        share = (p[some] <= 0.05).mean()
        assert share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert (p <= 0.05).mean() > 0.02  # and it is not that nothing could pass


def test_units_of_noise_get_no_label(draw):
    table = labelled(draw.normal(size=(200, IMAGES)), draw.normal(size=(IMAGES, 50)))
    assert (table["verdict"] != LABEL).mean() >= 0.95
    assert table["verdict"].str.contains("chance").sum() >= 190
    assert table["best_label"].ne("").all()  # what was best is told, with its score


def test_units_that_follow_a_label_get_it_among_units_of_noise(draw):
    scores = draw.normal(size=(IMAGES, 50))
    scores[:, 0] = scores[:, 0] > 0.8  # yes and no
    scores[:, 2] = 1.0  # the same everywhere
    values = draw.normal(size=(40, IMAGES))
    values[0] += 3 * scores[:, 0]
    values[1] += 1.5 * scores[:, 1]
    values[2] -= 3 * scores[:, 0]  # what goes with its absence has not the label
    values[3] = 0.0
    table = labelled(values, scores, Labelling(permutations=200))
    assert table.loc[:1, "verdict"].tolist() == [LABEL, LABEL]
    assert table.loc[:1, "best_label"].tolist() == ["label 0", "label 1"]
    assert table.loc[0, "score"] == pytest.approx(scores_of(values[:1], scores.T[:1])[0, 0])
    assert table.loc[3, ["verdict", "best_label"]].tolist() == ["no label: never varies", ""]
    assert table.loc[2:, "verdict"].str.startswith("no label: ").all()
    assert "label 2" not in {*table["best_label"], *table["runner_up"]}
    assert (table["runner_up_score"].dropna() <= table["score"].dropna()).all()


def test_a_label_that_a_few_images_carry_is_none(draw):
    scores, values = np.zeros((IMAGES, 2)), draw.normal(size=(2, IMAGES))
    scores[:3, 0] = 1  # of three images
    values[0, :3] += 20
    scores[:12, 1] = 1  # of twelve, one of which is all that the unit answers to
    values[1, 11] += 40
    table = labelled(values, scores)
    assert "few images" in table.loc[0, "verdict"] and table.loc[0, "score"] > 0.7
    assert "missing labels" in table.loc[1, "verdict"] and table.loc[1, "p"] <= 0.05
    assert table.loc[1, "missing_falls"] == pytest.approx(0.5, abs=0.15)


GOOD = {"score": 0.5, "p": 0.01, "q": 0.01, "images": 30, "missing_falls": 1, "extra_falls": 1}


@pytest.mark.parametrize(
    ("changed", "against"),
    [
        ({}, ""),
        ({"missing_falls": 0.95, "q": 0.05, "score": 0.3, "images": 10}, ""),
        ({"score": 0.29}, "weak"),
        ({"p": 0.051}, "chance"),
        ({"q": 0.051}, "chance"),
        ({"q": np.nan}, "chance"),
        ({"images": 9}, "few images"),
        ({"missing_falls": 0.94}, "missing labels"),
        ({"extra_falls": 0.5, "score": 0.1}, "weak, extra labels"),
    ],
)
def test_a_verdict_names_all_that_speaks_against_a_label(changed, against):
    expected = f"no label: {against}" if against else LABEL
    assert verdict(SimpleNamespace(**(GOOD | changed)), Labelling()) == expected
