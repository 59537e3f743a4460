"""Layers become groups of a Zarr store, which not every name can be."""

import pytest

from rosetta_steps.zoo.layer_names import LONGEST, refuse_impossible_names


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "...", "a/b", "/a", "a/", "a\\b", "a\0b", "a\nb", "x" * (LONGEST + 1),
     "zarr.json", "__a", "\ud800", "ä" * 150, None, 3],
)  # fmt: skip
def test_a_name_that_no_store_can_hold_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match="^net: its layer .*Rename the module, or") as error:
        refuse_impossible_names("net", ["a", name])
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


def test_two_layers_of_one_name_are_refused():
    with pytest.raises(ValueError, match="'a' has the name of another one"):
        refuse_impossible_names("net", ["a", "b", "a"])


def test_names_of_modules_and_numbers_pass():
    names = ["blocks.0.mlp.act", "0", "0.1", "relu#1", "x" * LONGEST, "nan", "é", "a b", "..a"]
    refuse_impossible_names("net", names)
