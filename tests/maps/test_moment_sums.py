"""Sums over images, against plain ones in float64 that take image after image."""

import numpy as np
import pytest
import torch

from rosetta_steps.maps.moment_sums import MomentSums
from rosetta_steps.maps.statistics import NEIGHBOURS

SIZE = (5, 3)


def summed(maps):
    sums = MomentSums(maps.shape[1], SIZE)
    sums.add(maps[:2])
    sums.add(maps[2:])
    return sums.dataset()


@pytest.fixture
def maps():
    """Nine images of two channels, whose sums in float64 depend on the order."""
    values = torch.randn(9, 2, *SIZE, generator=torch.Generator().manual_seed(0))
    return (1e3 + values).half()


@pytest.mark.parametrize("images", range(3, 10))
def test_images_are_added_in_their_order_whatever_their_number(maps, images):
    found, values = summed(maps[:images]), maps[:images].double().numpy()
    height, width = SIZE
    for index, (down, right) in enumerate(NEIGHBOURS):
        total = np.zeros((2, *SIZE))
        for y in range(height - down):
            for x in range(max(0, -right), width - max(0, right)):
                for of_image in values:
                    total[:, y, x] += of_image[:, y, x] * of_image[:, y + down, x + right]
        np.testing.assert_array_equal(found["mean_product"][:, index], total / images)
    np.testing.assert_array_equal(found["mean_map"], sum(values) / images)
    np.testing.assert_array_equal(found["minimum"], values.min((0, 2, 3)))
    np.testing.assert_array_equal(found["maximum"], values.max((0, 2, 3)))
    assert not found["nonfinite"].any()


def test_no_image_adds_nothing(maps):
    sums = MomentSums(2, SIZE)
    for part in (maps[:0], maps, maps[:0]):
        sums.add(part)
    assert sums.dataset().equals(summed(maps))


def test_values_that_are_not_finite_are_counted_and_nan_is_no_extreme(maps):
    maps[4, 0, 1, 1], maps[5, 0, 0, 2], maps[6, 0, 3, 0] = torch.nan, torch.inf, torch.nan
    found = summed(maps)
    np.testing.assert_array_equal(found["nonfinite"], [3, 0])
    np.testing.assert_array_equal(found["maximum"], [np.inf, maps[:, 1].max().item()])
    np.testing.assert_array_equal(
        found["minimum"], [maps[:, 0].nan_to_num(1e4).min().item(), maps[:, 1].min().item()]
    )


def test_a_channel_of_nothing_but_nan_has_no_extremes(maps):
    maps[:, 1] = torch.nan
    found = summed(maps)
    assert found["minimum"][1] == np.inf and found["maximum"][1] == -np.inf
    assert found["nonfinite"][1] == maps[:, 1].numel()
