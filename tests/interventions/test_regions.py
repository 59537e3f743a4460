"""Regions: rectangles on one grid, and how much of the cells of another grid they cover."""

import numpy as np
import pytest

from rosetta_steps.interventions.regions import mean_inside, random_regions

SIZES = [(4, 4), (8, 6), (7, 5), (3, 10), (1, 1), (16, 2)]


@pytest.mark.parametrize("own", SIZES)
@pytest.mark.parametrize("other", SIZES)
def test_a_cell_of_another_grid_counts_by_the_share_of_it_that_is_inside(own, other):
    regions = random_regions(5, own)
    # By brute force: points between which no edge of either grid lies.
    fine = [np.lcm(a, b) * 2 for a, b in zip(own, other, strict=True)]
    y, x = ((np.arange(n) + 0.5) / n for n in fine)
    found = regions.coverage(other)
    for image in range(5):
        (top, bottom), (left, right) = regions.rows[image], regions.columns[image]
        inside_y = (y * own[0] > top) & (y * own[0] < bottom)
        inside_x = (x * own[1] > left) & (x * own[1] < right)
        points = np.outer(inside_y, inside_x).astype(float)
        cells = points.reshape(other[0], fine[0] // other[0], other[1], -1).mean((1, 3))
        np.testing.assert_allclose(found[image], cells, atol=1e-8)


def test_regions_are_a_quarter_of_the_map_anywhere_on_it_and_the_same_for_a_seed():
    regions = random_regions(200, (8, 8))
    assert (regions.mask().sum((1, 2)) == 16).all()
    assert regions.mask().any(0).all() and not regions.mask().all(0).any()
    again = random_regions(200, (8, 8))
    np.testing.assert_array_equal(regions.rows, again.rows)
    np.testing.assert_array_equal(regions.part(slice(3, 5)).mask(), regions.mask()[3:5])


def test_a_mean_over_a_region_weighs_positions_by_how_much_is_covered():
    random = np.random.default_rng(0)
    values, coverage = random.random((3, 2, 4, 5)), random.random((3, 4, 5))
    coverage[2] = 0
    found = mean_inside(values, coverage)
    for image in range(2):
        for channel in range(2):
            expected = np.average(values[image, channel], weights=coverage[image])
            assert found[image, channel] == pytest.approx(expected)
    assert np.isnan(found[2]).all()
