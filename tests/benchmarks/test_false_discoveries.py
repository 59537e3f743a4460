"""The benchmark of false discoveries finds what is planted, and nothing where nothing is."""

import numpy as np
import pandas as pd

from rosetta_steps.benchmarks.false_discoveries import correlated, false_discoveries


def test_correlations_are_numpys_with_and_without_mean_maps():
    random = np.random.default_rng(0)
    a, b = (random.random((3, 5, 4), np.float32) for _ in "ab")
    for without in (False, True):
        x, y = ((m - m.mean(1, keepdims=True)) if without else m for m in (a, b))
        expected = np.corrcoef(x.reshape(3, -1), y.reshape(3, -1))[:3, 3:]
        np.testing.assert_allclose(correlated(a, b, without), expected, atol=1e-6)


def test_permuted_images_of_maps_that_share_everything_give_nearly_no_discovery():
    random = np.random.default_rng(0)
    shared = random.normal(size=(8, 60, 9)).astype(np.float32)
    mixes = [random.normal(size=(40, 8)).astype(np.float32) for _ in "ab"]
    maps = tuple(np.einsum("uf,fip->uip", mix, shared) for mix in mixes)
    found = false_discoveries(maps, runs=20, units=40, level=0.05)
    assert isinstance(found, pd.DataFrame) and (found["listed"] > 0).all()
    assert (found.groupby("statistic")["passed"].agg(lambda p: (p > 0).mean()) <= 0.15).all()
