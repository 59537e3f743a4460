"""Which images and concepts are shown, and what they are called."""

import numpy as np
import pytest

from rosetta_steps.display.exemplars import choose_examples
from rosetta_steps.display.reading import (
    file_label,
)


@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("folder/a.jpg", "a.jpg"),
        ("ten-letters", "ten-letters"),
        ("more-than-twelve.jpg", "more-…ve.jpg"),
        ("a\nb.jpg", "a?b.jpg"),
    ],
)
def test_a_long_name_of_a_file_is_shortened_in_the_middle(file, label):
    assert file_label(file, 12) == label


def test_examples_are_different_images_even_if_there_are_few():
    maxima = np.array([1.0, 1.0, 0.0, 2.0])
    examples = choose_examples(maxima, (0.0, 2.0), top=3, middle=2, low=1)
    assert [example.image for example in examples] == [3, 0, 1, 2]
    assert [example.group for example in examples] == ["top", "top", "top", "low"]
    assert [example.peak for example in examples] == [1.0, 0.5, 0.5, 0.0]
