"""A similarity is one row of a table, and everything that computes or checks one takes it."""

import numpy as np
import pytest
import xarray as xr
from brute_force import run
from numpy.testing import assert_allclose

from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.correlation.similarities import SIMILARITIES, Similarity
from rosetta_steps.correlation.step import correlate
from rosetta_steps.correlation.verification import largest_difference
from rosetta_steps.evidence.image_sums import sums_of
from rosetta_steps.evidence.parts import PartsOfPairs
from rosetta_steps.evidence.table import OF_CORRELATIONS, evidence_of
from rosetta_steps.maps.moments import measure
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.storage.datasets import open_tree
from rosetta_steps.testing import moments_of


def add_means(covariance, a, b, rows, positions):
    covariance += np.outer(a.mean[rows], b.mean)


def cosine_of(a, b):
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


COSINE = Similarity(
    "cosine similarity",
    shared=add_means,
    scale=lambda units: np.sqrt(units.variance + units.mean**2),
    prepare=lambda maps: maps,
    by_hand=cosine_of,
)


@pytest.fixture
def cosine(monkeypatch):
    """Settings of a similarity that somebody has added."""
    monkeypatch.setitem(SIMILARITIES, "cosine", COSINE)
    settings = Correlation(images_per_strip=6, images_per_block=4, splits=2)
    object.__setattr__(settings, "similarity", "cosine")
    return settings


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("nearest", [0, 3])
def test_each_is_verified_by_its_own_brute_force(two_stores, tmp_path, similarity, nearest):
    a, b, *_ = two_stores
    table = run(a, b, tmp_path / "out.zarr", similarity=similarity, nearest=nearest)
    named = table["correlation_a" if nearest else "correlation"].attrs["long_name"]
    assert named == SIMILARITIES[similarity].title
    assert largest_difference(tmp_path / "out.zarr", a, b, pairs=30, seed=0) < 1e-5


def test_one_of_your_own_is_a_row(two_stores, tmp_path, cosine):
    a, b, *_ = two_stores
    for path in (a, b):
        measure(path, moments_of(path), 2)
    moments = [moments_of(path) for path in (a, b)]
    correlate(a, b, *moments, tmp_path / "out.zarr", settings=cosine, threads=2)
    assert largest_difference(tmp_path / "out.zarr", a, b, pairs=30, seed=0) < 1e-5
    table = xr.open_zarr(tmp_path / "out.zarr")
    assert table["decoy_correlation"].long_name == "cosine similarity with the images of b moved"

    pairs = table_of(table, 2)
    images = xr.DataArray(np.zeros((10, 3, 4, 4), np.float32), dims=("image", "rgb", "y", "x"))
    trees = [open_tree(path) for path in moments]
    sums = sums_of([MapReader(path) for path in (a, b)], trees, pairs, images)
    found = evidence_of(table, pairs, PartsOfPairs(trees), sums, 2)
    assert found[OF_CORRELATIONS].isna().all(axis=None), "these are parts of a correlation"
    assert found["held_out"].notna().any()
    assert_allclose(found["correlation"], pairs["correlation"])
