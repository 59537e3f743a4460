"""Fixtures of all tests."""

from pathlib import Path

import one_thread  # noqa: F401
import pytest
import zygote

from rosetta_steps.inversion.settings import Settings
from rosetta_steps.testing import Project, random_maps, write_maps

ROOT = Path(__file__).parents[1]
LONG = ROOT / "tests/workflow"
pytest_plugins = ["checkpoint_files"]
if zygote.POSSIBLE:
    Project.python = zygote.Python()


def pytest_collection_modifyitems(items):
    """What takes long comes first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: LONG not in item.path.parents)


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
