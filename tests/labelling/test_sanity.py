"""The missing and the extra labels test, as the paper has them."""

import numpy as np
import pytest

from rosetta_steps.labelling.sanity import (
    COLUMNS,
    DRAWS,
    falls,
    has_label,
    with_as_many_more,
    without_half,
)


@pytest.fixture
def draw():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "images"),
    [
        ([0, 1, 0, 1, 1], [1, 3, 4]),
        ([-2, -2, 5, -2, -2], [2]),
        ([1, 2, 3, 4, 5, 6, 7, 8], [6, 7]),  # above the third quartile, 6.25
        ([0, 0, 0, 0, 1, 2], [4, 5]),  # whose third quartile is 0.75
        ([0, 1, 2, 2, 2, 2], [2, 3, 4, 5]),  # of which none is above the third quartile
        ([3, 3, 3], []),
    ],
)
def test_an_image_has_a_label_by_the_larger_of_two_values_or_the_upper_quarter(values, images):
    assert np.flatnonzero(has_label(np.array(values, float))).tolist() == images


def test_of_yes_and_no_half_of_the_images_lose_the_label_and_as_many_others_get_it(draw):
    label = np.r_[np.ones(7), np.zeros(93)]
    lost, more = without_half(label, draw), with_as_many_more(label, draw)
    assert lost[:7].sum() == 3 and lost[7:].sum() == 0  # 4 of 7
    assert more[:7].sum() == 7 and more[7:].sum() == 7
    assert set(lost) | set(more) == {0.0, 1.0} and label.sum() == 7


def test_of_a_number_images_take_the_mean_of_those_with_or_without_the_label(draw):
    label = draw.normal(size=80)
    has = has_label(label)
    lost, more = without_half(label, draw), with_as_many_more(label, draw)
    changed = lost != label
    assert changed.sum() == 10 and has[changed].all()
    np.testing.assert_allclose(lost[changed], label[~has].mean())
    changed = more != label
    assert changed.sum() == 20 and not has[changed].any()
    np.testing.assert_allclose(more[changed], label[has].mean())


def test_a_label_of_nearly_all_images_is_given_to_half_of_the_others(draw):
    label = np.r_[np.ones(90), np.zeros(10)]
    assert with_as_many_more(label, draw).sum() == 95


def test_scores_fall_as_theory_says_where_a_unit_is_its_label(draw):
    # Of a label of a share a of the images, r with c- is sqrt(((1 - a) / 2) / (1 - a / 2)) and with
    # c+ the same, but for drawing: both from the 2 x 2 table of yes and no.
    label = (np.arange(4000) < 400).astype(float)
    missing, missing_falls, extra, extra_falls = falls(label[None], label).values()
    assert missing == pytest.approx(np.sqrt(0.45 / 0.95), abs=1e-6)
    assert extra == pytest.approx(np.sqrt(0.9 / 1.8 * 0.8 / 0.9), abs=1e-2)
    assert missing_falls == extra_falls == 1


def test_both_tests_draw_anew_and_give_the_same_twice(draw):
    units, label = draw.normal(size=(2, 200)), (draw.normal(size=200) > 1).astype(float)
    both, second = falls(units, label), falls(units[1:], label)
    for column in COLUMNS:
        np.testing.assert_allclose(both[column][1:], second[column], rtol=1e-9)
    draws = [np.random.default_rng([1, 0, n]) for n in range(DRAWS)]
    assert len({without_half(label, draw).tobytes() for draw in draws}) == DRAWS


def test_a_label_that_both_tests_make_the_same_everywhere_scores_0():
    label = np.r_[1.0, np.zeros(9)]
    found = falls(label[None], label)
    assert found["score_with_labels_missing"] == 0 and found["missing_falls"] == 1
