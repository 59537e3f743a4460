"""Rotated bases and linear readouts, against maps that are upsampled, rotated and regressed."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from brute_force import run, upsample

from rosetta_steps.correlation.similarities import SIMILARITIES
from rosetta_steps.evidence.compared import open_covariances
from rosetta_steps.evidence.covariances import measure
from rosetta_steps.evidence.image_sums import sums_of
from rosetta_steps.evidence.parts import PartsOfPairs
from rosetta_steps.evidence.spread import (
    PENALTIES,
    Units,
    one_unit_share,
    rotated_best,
    rotations,
    spread_of,
)
from rosetta_steps.evidence.table import evidence_of, write_evidence
from rosetta_steps.maps import moments as of_moments
from rosetta_steps.maps.resampling import comparison_size
from rosetta_steps.maps.splits import split_of
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import read_evidence, write_table
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import open_tree, write_dataset
from rosetta_steps.storage.manifests import ingredients
from rosetta_steps.testing import made, moments_of, random_maps, write_maps

IMAGES, NEIGHBOURS = 24, 3


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """Two models that share some signals, one of them with a unit that never varies."""
    folder = tmp_path_factory.mktemp("spread")
    a, b = (random_maps(seed, IMAGES, (4, 6, 6), (3, 3, 5)) for seed in (1, 2))
    b["layer0"][:, :3] += 2 * a["layer0"][:, 1:]
    b["layer0"][:, 3] = 5
    b["layer1"][:, 0] = a["layer1"][:, 1] + a["layer1"][:, 2]
    b["layer1"][:, 1] = a["layer1"][:, 1] - a["layer1"][:, 2]
    stores = [write_maps(folder / f"{n}.zarr", m, 8) for n, m in zip("ab", (a, b), strict=True)]
    for store in stores:
        of_moments.measure(store, moments_of(store), 2)
    measure(stores[1], moments_of(stores[1]), moments_of(stores[0]), folder / "cov" / "b.zarr")
    moments = [open_tree(moments_of(store)) for store in stores]
    covariances = open_covariances(folder / "cov" / "b.zarr", ["a", "b"], moments, "samples")
    return SimpleNamespace(
        folder=folder, stores=stores, maps=(a, b), moments=moments, covariances=covariances
    )


def mine(mined, name, **settings):
    table = run(*mined.stores, mined.folder / f"{name}.zarr", splits=2, **settings)
    pairs = table_of(table, NEIGHBOURS)
    return table, pairs, spread_of(table, pairs, mined.moments, mined.covariances)


def values_of(maps, size, images, centre):
    """(unit, image x position) about each unit's mean, or its mean map, on these images."""
    found = upsample(maps[images], size)
    found = found - found.mean((0, 2, 3) if centre == "mean" else 0, keepdims=True)
    return found.swapaxes(0, 1).reshape(maps.shape[1], -1)


@pytest.mark.parametrize("similarity", ["pearson", "pearson_without_mean_maps"])
def test_both_are_what_rotated_and_regressed_maps_give(mined, similarity):
    _, pairs, found = mine(mined, similarity, similarity=similarity)
    centre = SIMILARITIES[similarity].about
    a, b = mined.maps
    split = split_of(IMAGES, 2)
    assert len(pairs) >= 6 and found["one_unit_share"].notna().sum() >= 6
    for row, pair in enumerate(pairs.itertuples(index=False)):
        of_a, of_b = a[pair.layer_a][:, [pair.channel_a]], b[pair.layer_b]
        size = comparison_size(of_a.shape[2:], of_b.shape[2:])
        units = np.ptp(of_b, (0, 2, 3)) > 0
        partner = units[: pair.channel_b].sum()

        def maps(images, of_a=of_a, of_b=of_b[:, units], size=size):
            return [values_of(of_model, size, images, centre) for of_model in (of_a, of_b)]

        x, y = maps(slice(None))
        y = y / y.std(1, keepdims=True)
        largest = [np.corrcoef(x, q.double().numpy().T @ y)[0, 1:].max() for q in rotations(len(y))]
        excess = pair.correlation - np.mean(largest)
        assert found["rotation_excess"][row] == pytest.approx(excess, abs=2e-6)

        halves = [maps(split == s) for s in range(2)]
        alone, explained = 0, np.zeros(len(PENALTIES))
        for (x0, y0), (x1, y1) in (halves, halves[::-1]):
            alone += np.corrcoef(x1[0], y1[partner])[0, 1] ** 2
            scale = y0.std(1, keepdims=True)
            y0, y1 = y0 / scale, y1 / scale
            for place, penalty in enumerate(PENALTIES):
                gram = y0 @ y0.T / y0.shape[1] + penalty * np.eye(len(y0))
                rest = x1[0] - np.linalg.solve(gram, y0 @ x0[0] / y0.shape[1]) @ y1
                explained[place] += 1 - rest.var() / x1[0].var()
        share = found["one_unit_share"][row]
        if np.isnan(share):
            assert explained.min() <= 0
        else:
            assert np.abs(alone / explained - share).min() < 1e-5 * share


def test_a_sum_of_two_signals_says_half_and_a_unit_that_stands_alone_all(mined):
    _, pairs, found = mine(mined, "shares")
    spread = (pairs["layer_a"] == "layer1") & (pairs["layer_b"] == "layer1")
    spread &= pairs["channel_a"].isin([1, 2]) & pairs["channel_b"].isin([0, 1])
    alone = (pairs["layer_a"] == "layer0") & (pairs["layer_b"] == "layer0")
    alone &= pairs["channel_a"] == pairs["channel_b"] + 1
    assert spread.any() and alone.sum() == 3
    np.testing.assert_allclose(found["one_unit_share"][spread], 0.5, atol=0.1)
    assert (found["one_unit_share"][alone] > 0.9).all()
    assert (found["rotation_excess"][alone] > 0).all()


def test_rotations_are_orthogonal_the_same_each_time_and_as_likely_one_way_as_the_other():
    drawn = [q.double().numpy() for q in rotations(40)]
    rotations.cache_clear()
    again = [q.double().numpy() for q in rotations(40)]
    for one, other in zip(drawn, again, strict=True):
        np.testing.assert_allclose(one @ one.T, np.eye(40), atol=1e-5)
        np.testing.assert_array_equal(one, other)
    # Without the signs of R's diagonal, the diagonal of Q would be negative on average.
    diagonal = np.concatenate([np.diag(q) for q in drawn])
    assert abs(diagonal.mean()) < 4 * np.sqrt(1 / 40 / len(diagonal))


def test_a_layer_of_units_that_never_vary_has_no_rotation():
    none = rotated_best([np.full((3, 3), np.nan)], [np.full((2, 3), np.nan, np.float32)])
    assert np.isnan(none[0]).all()


def test_a_readout_that_explains_nothing_of_other_images_gives_no_share():
    units = Units(np.eye(2), np.ones(2))
    rows = np.array([[[0.5, 0.1]], [[-0.5, -0.1]]])
    share = one_unit_share([units, units], rows, np.ones((2, 1)), np.array([0]))
    assert np.isnan(share).all()


def test_columns_stay_empty_where_correlations_say_too_little(mined, capsys):
    table, pairs, _ = mine(mined, "empty")
    pictures = np.random.default_rng(0).random((IMAGES, 3, 12, 12), np.float32)
    shown = xr.DataArray(pictures, dims=("image", "rgb", "y", "x"))
    sums = sums_of([MapReader(store) for store in mined.stores], mined.moments, pairs, shown)

    def evidence(correlations, covariances=mined.covariances):
        return evidence_of(
            correlations,
            pairs,
            PartsOfPairs(mined.moments),
            sums,
            NEIGHBOURS,
            covariances=covariances,
        )

    columns = ["rotation_excess", "one_unit_share"]
    assert evidence(table)[columns].notna().any().all()
    assert evidence(table, None)[columns].isna().all(axis=None)
    assert "splits" not in capsys.readouterr().err
    without = evidence(table[["correlation"]])
    assert without["rotation_excess"].notna().all() and without["one_unit_share"].isna().all()
    assert "correlation: splits: 2 would do. one_unit_share: left" in capsys.readouterr().err
    for store in mined.stores:
        of_moments.measure(store, mined.folder / "whole" / store.name)
    whole = mined.folder / "whole"
    near = run_nearest(mined, whole)
    assert evidence(near)[columns].isna().all(axis=None)
    assert "keep: table would do" in capsys.readouterr().err


def test_a_table_of_evidence_has_both_where_covariances_are_given(mined):
    _, pairs, found = mine(mined, "written")
    shown = xr.DataArray(np.zeros((IMAGES, 3, 4, 4), np.float32), dims=("image", "rgb", "y", "x"))
    sums = sums_of([MapReader(store) for store in mined.stores], mined.moments, pairs, shown)
    of, folder = ingredients(mined.stores), mined.folder
    write_table(pairs, folder / "buddies.csv", made("best buddies", "a", "b", of=of))
    write_dataset(sums, folder / "sums.zarr", made("image sums", "a", "b", of=of))
    moments = [moments_of(store) for store in mined.stores]
    given = (folder / "written.zarr", folder / "buddies.csv", moments, folder / "sums.zarr")
    chosen = {"neighbours": NEIGHBOURS, "covariances": folder / "cov" / "b.zarr"}
    write_evidence(*given, folder / "x.csv", **chosen)
    written = read_evidence(folder / "x.csv")
    for column in found:
        np.testing.assert_allclose(written[column], found[column], rtol=1e-6, atol=1e-8)
    assert written["verdict"].str.contains("distributed").any()
    measure(mined.stores[0], moments[0], moments[1], folder / "cov" / "a.zarr")
    with pytest.raises(StoreError, match=r"cov/a\.zarr .* read as that of b"):
        write_evidence(*given, folder / "x.csv", **chosen | {"covariances": folder / "cov/a.zarr"})


def run_nearest(mined, moments):
    from rosetta_steps.correlation.settings import Correlation
    from rosetta_steps.correlation.step import correlate

    stores, names = mined.stores, [moments / store.name for store in mined.stores]
    output = mined.folder / "nearest.zarr"
    correlate(*stores, *names, output, settings=Correlation(), threads=1, nearest=NEIGHBOURS)
    return xr.open_zarr(output)
