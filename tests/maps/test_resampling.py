"""Bilinear upsampling as a matrix is that of torch."""

import numpy as np
import pytest
from brute_force import upsample

from rosetta_steps.maps.resampling import upsampling


@pytest.mark.parametrize(("source", "target"), [(4, 4), (4, 7), (7, 28), (9, 30), (1, 5)])
def test_the_upsampling_matrix_is_that_of_torch(source, target):
    maps = np.eye(source)[:, None, None, :]  # one map a column
    expected = upsample(np.repeat(maps, 2, axis=2), (2, target))[:, 0, 0].T
    np.testing.assert_allclose(upsampling(source, target), expected, atol=1e-12)
