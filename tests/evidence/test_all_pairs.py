"""The parts of every correlation: favourite places, amounts, and what is left."""

import numpy as np
import pytest
from brute_force import run, upsample

from rosetta_steps.evidence.all_pairs import means_of, parts_of, write_parts
from rosetta_steps.evidence.parts import PartsOfPairs, correlation_left
from rosetta_steps.maps.resampling import comparison_size
from rosetta_steps.maps.sources import open_maps
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import open_dataset, open_tree
from rosetta_steps.testing import moments_of


def test_where_and_what_is_left_are_those_of_their_formulas(two_stores, tmp_path):
    a, b, maps_a, maps_b = two_stores
    table = run(a, b, tmp_path / "out.zarr")
    moments = [moments_of(path) for path in (a, b)]
    write_parts(tmp_path / "out.zarr", [a, b], moments, tmp_path / "parts.zarr")
    found = open_dataset(tmp_path / "parts.zarr")
    assert list(found["layer_b"].values) == list(table["layer_b"].values)
    for i, j in np.ndindex(*table["correlation"].shape):
        one = maps_a[str(table["layer_a"].values[i])][:, [int(table["channel_a"][i])]]
        other = maps_b[str(table["layer_b"].values[j])][:, [int(table["channel_b"][j])]]
        size = comparison_size(one.shape[2:], other.shape[2:])
        x, y = (upsample(maps, size)[:, 0] for maps in (one, other))
        where = ((x.mean(0) - x.mean()) * (y.mean(0) - y.mean())).mean() / (x.std() * y.std())
        of_images = x.mean((1, 2)), y.mean((1, 2))
        amount = np.cov(*of_images, bias=True)[0, 1] / (x.std() * y.std())
        left = np.corrcoef((x - x.mean(0)).ravel(), (y - y.mean(0)).ravel())[0, 1]
        assert float(found["where"][i, j]) == pytest.approx(where, abs=1e-6)
        assert float(found["amount"][i, j]) == pytest.approx(amount, abs=1e-6)
        assert float(found["left"][i, j]) == pytest.approx(left, abs=5e-6)
        own = one[:, 0].astype(float)
        share = own.mean(0).var() / own.var()
        assert float(found["where_share_a"][i]) == pytest.approx(share, abs=1e-6)


def test_they_are_those_of_best_buddies(two_stores, tmp_path):
    a, b, *_ = two_stores
    table = run(a, b, tmp_path / "out.zarr")
    trees = [open_tree(moments_of(path)) for path in (a, b)]
    found = parts_of(table, trees, means_of([open_maps(a), open_maps(b)], trees))
    pairs = found["where"].to_dataframe().reset_index()
    of_pairs = PartsOfPairs(trees).of(pairs)
    np.testing.assert_allclose(pairs["where"], of_pairs["where"], atol=1e-6)
    r = table["correlation"].values.ravel()
    np.testing.assert_allclose(
        found["left"].values.ravel(), correlation_left(r, of_pairs), atol=1e-6
    )


def test_a_unit_that_never_varies_has_no_parts(two_stores, tmp_path):
    a, b, *_ = two_stores
    table = run(a, b, tmp_path / "out.zarr").load()
    table["correlation"][3, :] = np.nan
    trees = [open_tree(moments_of(path)) for path in (a, b)]
    found = parts_of(table, trees, means_of([open_maps(a), open_maps(b)], trees))
    assert found["where"][3].isnull().all() and found["left"][3].isnull().all()
    assert found["where"][2].notnull().all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"nearest": 2}, "nearest partners only.*keep: table"),
        ({"similarity": "pearson_without_mean_maps"}, "about mean maps.*similarity: pearson"),
    ],
)
def test_what_has_no_such_parts_is_refused(two_stores, tmp_path, settings, words):
    a, b, *_ = two_stores
    run(a, b, tmp_path / "out.zarr", **settings)
    moments = [moments_of(path) for path in (a, b)]
    with pytest.raises(StoreError, match=words):
        write_parts(tmp_path / "out.zarr", [a, b], moments, tmp_path / "parts.zarr")
    assert not (tmp_path / "parts.zarr").exists()
