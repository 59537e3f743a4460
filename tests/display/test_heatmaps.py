"""Colours of maps: one scale in all images, and no colour for what is no number."""

import numpy as np

from rosetta_steps.display import heatmaps


def test_the_same_value_has_the_same_colour_in_every_image():
    grey = np.full((16, 16), 0.5, dtype=np.float32)
    strong, weak = np.zeros((4, 4)), np.zeros((4, 4))
    strong[0, 0], strong[3, 3] = 8.0, 2.0
    weak[3, 3] = 2.0  # the greatest value of its own image
    pictures = [heatmaps.overlay(each, (0.0, 8.0), grey) for each in (strong, weak)]
    np.testing.assert_array_equal(pictures[0][14:, 14:], pictures[1][14:, 14:])
    assert (pictures[0][0, 0] != pictures[1][0, 0]).any()


def test_values_that_are_no_numbers_are_drawn_as_missing_and_a_unit_that_never_varies_as_silent():
    values = np.array([np.nan, -np.inf, 0.0, 1.0, 2.0, np.inf], dtype=np.float16)
    np.testing.assert_array_equal(heatmaps.scale(values, (0.0, 2.0)), [np.nan, 0, 0, 0.5, 1, 1])
    np.testing.assert_array_equal(heatmaps.scale(values, (1.0, 1.0)), [np.nan, 0, 0, 0, 0, 0])
    plane = np.array([[np.nan, 1.0], [0.0, 2.0]], dtype=np.float32)
    picture = heatmaps.overlay(plane, (0.0, 2.0), np.zeros((8, 8), np.float32))
    missing = (picture == heatmaps.MISSING).all(2)
    assert missing[:4, :4].all() and not missing[4:].any() and not missing[:, 4:].any()


def test_opacity_and_brightness_grow_with_the_value():
    rgba = heatmaps.colour(np.linspace(0, 1, 64))
    assert rgba[0, 3] == 0
    assert (np.diff(rgba[:, 3]) > 0).all()
    assert (np.diff(rgba[:, :3] @ heatmaps.LUMA) > 0).all()
