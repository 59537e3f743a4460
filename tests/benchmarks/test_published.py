"""The published way, as it is re-implemented, finds what equation 2 and the engine find."""

import numpy as np
import pandas as pd
import pytest
import torch
from brute_force import brute_force, run

from rosetta_steps.benchmarks.published import Clock, correlate_upsampled, published_way
from rosetta_steps.matching.best_buddies import best_buddies, table_of
from rosetta_steps.matching.nearest import nearest
from rosetta_steps.storage.datasets import open_dataset


def maps_of(maps):
    """A model whose maps of a block of images are known."""
    return lambda block: {n: torch.from_numpy(m[block]).float() for n, m in maps.items()}


@pytest.fixture
def maps(two_stores):
    """Maps of two models on ten images, which are two batches and a half; one unit is silent."""
    *_, a, b = two_stores
    return a, b | {"layer1": np.concatenate([b["layer1"], np.zeros_like(b["layer1"][:, :1])], 1)}


def test_its_correlations_are_those_of_equation_2(maps):
    found = correlate_upsampled(*map(maps_of, maps), 10, Clock())
    expected = brute_force(*maps)
    assert np.isnan(expected).any()
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_its_best_buddies_are_those_of_equation_2(maps):
    found = published_way(*map(maps_of, maps), 10, 2, Clock())
    expected = brute_force(*maps)
    wanted = best_buddies(nearest(expected, 2), nearest(expected.T, 2))
    assert len(found)
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, atol=2e-6)


def test_its_best_buddies_are_those_of_the_engine(two_stores, tmp_path):
    a, b, maps_a, maps_b = two_stores
    found = published_way(maps_of(maps_a), maps_of(maps_b), 10, 2, Clock())
    run(a, b, tmp_path / "a--b.zarr", workers=1)
    engine = table_of(open_dataset(tmp_path / "a--b.zarr"), 2)
    units = [
        [(n, c) for n, m in maps.items() for c in range(m.shape[1])] for maps in (maps_a, maps_b)
    ]
    named = [(*units[0][row.unit_a], *units[1][row.unit_b]) for row in found.itertuples()]
    columns = ["layer_a", "channel_a", "layer_b", "channel_b"]
    assert named == list(engine[columns].itertuples(index=False, name=None))
    np.testing.assert_allclose(found["correlation"], engine["correlation"], atol=2e-6)


def test_every_part_of_it_is_counted(maps):
    clock = Clock()
    published_way(*map(maps_of, maps), 10, 2, clock)
    assert {part for part, seconds in clock.seconds.items() if not seconds} == {"loading"}
