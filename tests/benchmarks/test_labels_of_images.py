"""Labels of images that benchmarks compute: what they say of images whose properties are known."""

import numpy as np
import pandas as pd
import pytest

from rosetta_steps.benchmarks.labels import NONSENSE, moved, properties
from rosetta_steps.labelling.own import read_own_labels


@pytest.fixture
def images():
    """Grey, white on the left, red, white in the middle."""
    shown = np.full((4, 3, 20, 16), 0.5, np.float32)
    shown[1, :, :, :8], shown[1, :, :, 8:] = 1, 0
    shown[2, 0], shown[2, 1:] = 1, 0
    shown[3] = 0
    shown[3, :, 5:15, 4:12] = 1
    return shown


def test_properties_are_those_of_the_pixels(images):
    found = properties(images)
    np.testing.assert_allclose(found["bright"], [0.5, 0.5, 0.299, 0.25], atol=1e-6)
    np.testing.assert_allclose(found["light from the left"], [0, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["red"], [0, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(found["colourful"], [0, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(found["bright middle on dark ground"], [0, 0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(found["left and right alike"], [0, -1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["dark top"], [-0.5, -0.5, -0.299, 0], atol=1e-6)
    assert found[NONSENSE].tolist() == [1, 0, 1, 0] and found["many edges"].argmin() == 0


def test_they_are_labels_of_ones_own_and_may_be_moved_to_other_images(images, tmp_path):
    found = properties(images)
    found.to_csv(tmp_path / "x.csv", index_label="image")
    read = read_own_labels(tmp_path / "x.csv")
    np.testing.assert_allclose(read.of_images(4), found.to_numpy(), rtol=1e-12)
    pd.testing.assert_series_equal(moved(found)["bright"].sort_values(ignore_index=True),
                                   found["bright"].sort_values(ignore_index=True))  # fmt: skip
    assert not moved(found).equals(found)
