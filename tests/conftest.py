"""Fixtures of all tests."""

from pathlib import Path

import pytest

from rosetta_steps.inversion.settings import Settings
from rosetta_steps.testing import random_maps, write_maps

ROOT = Path(__file__).parents[1]
pytest_plugins = ["checkpoint_files"]


# Settings of eq. 5 alone, on which tests build theirs: no image is reconstructed.
EQUATION_5 = {
    "learning_rate": 0.05,
    "similarity": "pearson",
    "alpha": 0.1,
    "beta": 1.0,
    "guidance_fraction": 1.0,
    "reconstruction": "none",
    "frames": 0,
}


def plain_settings(**changes) -> Settings:
    """Settings of eq. 5 alone, but for some."""
    return Settings(**(EQUATION_5 | changes))


@pytest.fixture
def two_stores(tmp_path):
    """Two models on ten images, square and rectangular maps that meet at sizes native to none."""
    a = random_maps(1, 10, (3, 4, 4), (2, 12, 30))
    b = random_maps(2, 10, (4, 20, 9), (3, 7, 7), (2, 2, 2))
    return write_maps(tmp_path / "a.zarr", a), write_maps(tmp_path / "b.zarr", b), a, b
