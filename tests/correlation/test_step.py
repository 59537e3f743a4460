"""The correlation is the paper's, to float32, whatever the pieces of work."""

import gc
import threading

import numpy as np
import pytest
import torch
import xarray as xr
from brute_force import brute_force, run, upsample

from rosetta_steps.benchmarks.correlation import InMemory
from rosetta_steps.correlation import products, projection
from rosetta_steps.correlation.projection import Memory, Projection
from rosetta_steps.correlation.step import correlate
from rosetta_steps.maps import moments
from rosetta_steps.maps.resampling import upsampling
from rosetta_steps.maps.statistics import mean_and_variance
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.runtime.tf32 import rounding_as_set, rounding_to_tf32
from rosetta_steps.testing import moments_of, random_maps, write_maps


def test_correlations_agree_with_upsampling_both_maps_in_float64(two_stores, tmp_path):
    a, b, maps_a, maps_b = two_stores
    table = run(a, b, tmp_path / "out.zarr", images_per_strip=4, images_per_block=4)
    np.testing.assert_allclose(table["correlation"], brute_force(maps_a, maps_b), atol=1e-5)
    assert list(table["layer_a"].values[:4]) == ["layer0", "layer0", "layer0", "layer1"]
    assert list(table["size_b"].values) == [20] * 4 + [7] * 3 + [2] * 2


@pytest.mark.parametrize(
    ("precision", "error"), [("float64", 1e-7), ("tf32", 1e-3), ("bfloat16", 5e-3)]
)
def test_each_precision_keeps_its_error(two_stores, tmp_path, precision, error):
    a, b, maps_a, maps_b = two_stores
    table = run(a, b, tmp_path / "out.zarr", precision=precision)
    np.testing.assert_allclose(table["correlation"], brute_force(maps_a, maps_b), atol=error)
    assert table.attrs["precision"] == precision


@pytest.mark.filterwarnings("error")
def test_the_store_opens_with_no_option_and_no_warning(two_stores, tmp_path):
    a, b, *_ = two_stores
    run(a, b, tmp_path / "out.zarr")
    xr.open_zarr(tmp_path / "out.zarr").load()
    xr.open_datatree(a)["layer0"]["activation"].load()
    xr.open_datatree(moments_of(a)).load()


def test_pieces_and_workers_change_nothing_beyond_rounding(two_stores, tmp_path):
    a, b, *_ = two_stores
    once = run(a, b, tmp_path / "one.zarr", images_per_strip=10, images_per_block=10, workers=1)
    again = run(a, b, tmp_path / "two.zarr", images_per_strip=3, images_per_block=2, workers=2)
    np.testing.assert_allclose(once["correlation"], again["correlation"], atol=1e-6)


def test_a_rerun_gives_the_same_bits_for_any_number_of_workers(two_stores, tmp_path):
    a, b, *_ = two_stores
    tables = [
        run(a, b, tmp_path / f"{n}.zarr", images_per_strip=4, workers=n)["correlation"].values
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(*tables)


def test_units_read_in_many_runs_give_the_same(two_stores, tmp_path, monkeypatch):
    a, b, *_ = two_stores
    once = run(a, b, tmp_path / "one.zarr")["correlation"]
    monkeypatch.setattr(products, "RUN_BYTES", {"cpu": 1, "cuda": 1})  # a run for every unit
    np.testing.assert_allclose(run(a, b, tmp_path / "many.zarr")["correlation"], once, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sparse", [True, False])  # False: as on a GPU
@pytest.mark.parametrize("maps_together", [1, 4, 100])
@pytest.mark.parametrize("size", [(4, 4), (16, 16), (20, 30), (30, 20), (20, 6)])
def test_projections_are_the_adjoint_of_the_upsampling(
    size, maps_together, sparse, dtype, monkeypatch
):
    of_a_map = size[0] * size[1] * dtype.itemsize
    monkeypatch.setattr(projection, "TOGETHER_BYTES", {"cpu": maps_together * of_a_map})
    meetings = [size, (3, 4), (4, min(4, size[1])), (size[0], 3), (2, size[1])]
    project = Projection(size, meetings, Memory("cpu", dtype))
    if not sparse and project.rows is not None:
        project.rows.sparse = False
    project(torch.full((4, 2, *size), torch.nan, dtype=dtype))  # leaves nothing behind
    maps = torch.randn(3, 2, *size, dtype=dtype)
    found = project(maps)
    for meeting in meetings:
        rows, columns = (torch.from_numpy(upsampling(meeting[k], size[k])) for k in (0, 1))
        expected = torch.einsum("ubYX,Yy,Xx->ubyx", maps.double(), rows, columns).flatten(1)
        torch.testing.assert_close(found[meeting], expected.to(dtype))


@pytest.mark.parametrize("size", [(4, 4), (16, 16)])
def test_a_map_that_is_not_finite_leaves_the_maps_beside_it_as_they_are(size):
    project = Projection(size, [(3, 3)], Memory("cpu", torch.float32))
    maps = torch.randn(3, 2, *size)
    expected = project(maps)[3, 3].clone()
    maps[1, 0] = torch.nan
    found = project(maps)[3, 3]
    found[1, :9], expected[1, :9] = 0, 0
    torch.testing.assert_close(found, expected)


def test_a_read_that_fails_ends_the_sum_and_leaves_nothing_held():
    class Failing(InMemory):
        def read(self, layer, block, channels=slice(None)):
            if block.start >= 2:
                raise torch.OutOfMemoryError
            return super().read(layer, block, channels)

    a, b = (kind({"x": torch.rand(2, 3, 4, 4).half()}) for kind in (InMemory, Failing))
    before = threading.active_count()
    with pytest.raises(torch.OutOfMemoryError):
        products.sum_products(a, b, a.units(), b.units(), slice(0, 6), block=2)
    gc.collect()
    assert threading.active_count() == before


def test_a_device_rounds_to_tf32_in_no_thread_that_runs_a_model():
    seen, begun, end = [], threading.Event(), threading.Event()

    def run_a_model():
        with rounding_as_set():
            begun.set()
            end.wait(10)
            seen.append(torch.backends.cuda.matmul.allow_tf32)

    def multiply():
        with rounding_to_tf32():
            seen.append(torch.backends.cuda.matmul.allow_tf32)

    model, product = threading.Thread(target=run_a_model), threading.Thread(target=multiply)
    model.start()
    begun.wait(10)
    product.start()
    end.set()
    model.join(10)
    product.join(10)
    assert seen == [False, True] and not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("settings", [{}, {"images_per_strip": 3, "images_per_block": 2}])
def test_splits_are_the_correlations_of_their_images(two_stores, tmp_path, settings):
    a, b, maps_a, maps_b = two_stores
    whole = run(a, b, tmp_path / "whole.zarr")["correlation"]
    for store in (a, b):
        moments.measure(store, moments_of(store), splits=3)
    table = run(a, b, tmp_path / "out.zarr", splits=3, **settings)
    np.testing.assert_allclose(table["correlation"], whole, atol=1e-6)
    assert np.bincount(table["split_of_image"]).tolist() == [4, 3, 3]
    for split in range(3):
        images = table["split_of_image"].values == split
        of_split = [{n: m[images] for n, m in maps.items()} for maps in (maps_a, maps_b)]
        found = table["split_correlation"].isel(split=split)
        np.testing.assert_allclose(found, brute_force(*of_split), atol=1e-5)


def test_moments_of_other_splits_are_refused(two_stores, tmp_path):
    a, b, *_ = two_stores
    with pytest.raises(ValueError, match="the moments of a have 1 splits, not 2: measure them"):
        run(a, b, tmp_path / "out.zarr", splits=2)
    with pytest.raises(ValueError, match="2 splits are kept as tables"):
        run(a, b, tmp_path / "out.zarr", splits=2, nearest=1)


def test_moments_of_another_model_are_refused(two_stores, tmp_path):
    a, b, *_ = two_stores
    swapped = (moments_of(b), moments_of(a))
    with pytest.raises(ValueError, match="the moments of b on samples.zarr are not of .*a.zarr"):
        correlate(a, b, *swapped, tmp_path / "out.zarr", threads=1)
    assert not list(tmp_path.glob("*out.zarr*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nearest": 7}, "7 nearest of 5 and 9 units"),
        ({"nearest": -1}, "-1 nearest of 5 and 9 units"),
        ({"splits": 12}, "12 splits of 10 images"),
        ({"splits": 0}, "splits: 0 must be at least 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused(two_stores, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        run(*two_stores[:2], tmp_path / "out.zarr", **settings)


def test_the_nearest_of_a_model_with_itself_leave_out_the_unit(two_stores, tmp_path):
    a, *_ = two_stores
    table = table_of(run(a, a, tmp_path / "table.zarr"), 2)
    kept = table_of(run(a, a, tmp_path / "kept.zarr", nearest=2), 2)
    assert kept.drop(columns="correlation").equals(table.drop(columns="correlation"))


def test_a_unit_that_never_varies_has_no_correlation_and_is_counted(tmp_path):
    maps = random_maps(3, 6, (3, 4, 4))
    maps["layer0"][:, 1] = 0.3
    a = write_maps(tmp_path / "a.zarr", maps)
    b = write_maps(tmp_path / "b.zarr", random_maps(4, 6, (2, 9, 9)))
    table = run(a, b, tmp_path / "out.zarr")
    assert table["correlation"].isel(unit_a=1).isnull().all()
    assert table["correlation"].isel(unit_a=[0, 2]).notnull().all()
    assert table.attrs["units_a_that_never_vary"] == 1


def test_the_correlation_of_a_model_with_itself_is_one_on_the_diagonal(tmp_path):
    a = write_maps(tmp_path / "a.zarr", random_maps(5, 6, (3, 4, 4), (2, 9, 9)))
    table = run(a, a, tmp_path / "out.zarr")["correlation"].values
    np.testing.assert_allclose(np.diag(table), 1, atol=1e-6)
    np.testing.assert_allclose(table, table.T, atol=1e-6)


@pytest.mark.parametrize("size", [(12, 30), (13, 31), (56, 56)])
def test_mean_and_variance_at_any_size_agree_with_brute_force(two_stores, size):
    a, _, maps, _ = two_stores
    of_layer = xr.open_datatree(moments_of(a), engine="zarr")["layer1"].to_dataset()
    mean, variance = mean_and_variance(of_layer, size)
    large = upsample(maps["layer1"], size)
    np.testing.assert_allclose(mean, large.mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(variance, large.var((0, 2, 3)), rtol=1e-9)


def test_a_missing_shard_is_named_and_only_its_block_is_struck(two_stores, tmp_path):
    a, b, *_ = two_stores
    (a / "layer1/activation/c/1/0/0/0").unlink()
    with pytest.raises(StoreError, match="layer1/activation/c/1/0/0/0 is missing; 1 of 3 blocks"):
        run(a, b, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
    with pytest.raises(StoreError, match="is not finished"):
        run(a, b, tmp_path / "out.zarr")


def test_an_altered_byte_is_found_on_reading(two_stores, tmp_path):
    a, b, *_ = two_stores
    file = a / "layer1/activation/c/1/0/0/0"
    content = bytearray(file.read_bytes())
    content[50] ^= 255
    file.write_bytes(content)
    with pytest.raises(StoreError, match="layer1/activation/c/1/0/0/0 cannot be decoded"):
        run(a, b, tmp_path / "out.zarr")


@pytest.mark.parametrize("splits", [0, -1, 6, 10, 11, 10**6])
def test_more_splits_than_pairs_of_images_are_refused_before_anything_is_summed(
    two_stores, tmp_path, splits
):
    a, _, _, _ = two_stores
    with pytest.raises(ValueError, match=f"{splits} splits of 10 images: .* so give 1 .* to 5"):
        moments.measure(a, tmp_path / "m.zarr", splits=splits)
    assert not (tmp_path / "m.zarr").exists()


def test_as_many_splits_as_pairs_of_images_are_measured(two_stores, tmp_path):
    a, _, _, _ = two_stores
    moments.measure(a, tmp_path / "m.zarr", splits=5)
    assert xr.open_datatree(tmp_path / "m.zarr")["layer0"].sizes["split"] == 5
