"""Images are resampled and left out, and the sums give what the maps themselves would."""

import numpy as np
import pytest

from rosetta_steps.evidence.intervals import (
    ImageSums,
    effective_images,
    interval,
    without_top_images,
)


def drawn(seed, images=50, positions=16, shared=0.6):
    random = np.random.default_rng(seed)
    a = random.normal(2, 1, (images, positions))
    return a, shared * a + random.normal(0, 0.8, (images, positions))


def sums_of(*pairs):
    a, b = (np.stack([pair[side] for pair in pairs], 1) for side in range(2))
    a, b = (x - x.mean((0, 2), keepdims=True) for x in (a, b))
    sums = [x.sum(2) for x in (a, b, a * a, b * b, a * b)]
    return ImageSums(*sums, positions=np.full(len(pairs), a.shape[2]))


def r(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_weights_count_images_as_often():
    a, b = drawn(0)
    draw = np.random.default_rng(1).integers(0, 50, 50)
    weights = np.bincount(draw, minlength=50)[None].astype(float)
    assert sums_of((a, b)).correlation(weights)[0, 0] == pytest.approx(r(a[draw], b[draw]))


def test_leaving_out_each_image_gives_r_of_the_others():
    pairs = [drawn(seed) for seed in range(3)]
    found = sums_of(*pairs).without_each()
    for pair, (a, b) in enumerate(pairs):
        expected = [r(np.delete(a, i, 0), np.delete(b, i, 0)) for i in range(50)]
        np.testing.assert_allclose(found[:, pair], expected)


def test_r_without_the_images_that_raise_it_most():
    a, b = drawn(0, shared=0)
    a[7] += 30
    b[7] += 30  # one image makes the match
    sums = sums_of((a, b))
    assert sums.correlation()[0, 0] > 0.9
    assert abs(without_top_images(sums, 1)[0]) < 0.2
    left = np.delete(np.arange(50), 7)
    assert without_top_images(sums, 1)[0] == pytest.approx(r(a[left], b[left]))


def test_intervals_cover_the_truth_as_often_as_they_say():
    truth = 0.6 / np.hypot(0.6, 0.8)
    low, high = interval(sums_of(*(drawn(seed, images=80) for seed in range(300))), 400)
    covered = ((low <= truth) & (truth <= high)).mean()
    assert 0.90 <= covered <= 0.98  # nominal 0.95


def test_the_effective_number_of_images_is_that_of_equal_ones():
    energy = np.zeros((100, 2))
    energy[:40, 0], energy[3, 1] = 5, 2
    np.testing.assert_allclose(effective_images(energy), [40, 1])


def test_a_unit_that_one_image_carries_correlates_with_nothing_without_it():
    random = np.random.default_rng(0)
    a, b = (random.normal(0, 1, (64, 9)) for _ in "ab")
    a[:] = 0.5
    a[7] += random.normal(0, 3, 9)  # silent on all other images
    b[7] = a[7]
    sums = sums_of((a, b))
    assert sums.without_each()[7, 0] == 0
    assert abs(without_top_images(sums, 1)[0]) < 1e-6
    low, high = interval(sums, 500)
    assert low[0] <= 0 < high[0], "draws without that image have nothing in common"


def test_a_unit_that_never_varies_has_no_interval():
    a, b = np.full((30, 9), 2.0), np.random.default_rng(0).normal(0, 1, (30, 9))
    low, high = interval(sums_of((a - a.mean(), b)), 100)
    assert np.isnan(low).all() and np.isnan(high).all()
