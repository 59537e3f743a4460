"""Covariances of units are those of the upsampled maps, on all images and on each split."""

import numpy as np
import pytest
import xarray as xr
from brute_force import upsample

from rosetta_steps.evidence import covariances as step
from rosetta_steps.evidence.compared import open_covariances, sizes_of_comparison
from rosetta_steps.evidence.covariances import measure
from rosetta_steps.maps import moments as of_moments
from rosetta_steps.maps.splits import split_of
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import open_tree
from rosetta_steps.testing import moments_of, random_maps, write_maps

IMAGES = 10
LARGER = [(9, 6), (2, 3)]  # sizes of the generator's layers


def stores_of(folder, splits=2):
    """A generator and a model with a unit that never varies."""
    a = random_maps(1, IMAGES, *((3, *size) for size in LARGER))
    b = random_maps(2, IMAGES, (5, 4, 4), (3, 12, 5))
    b["layer0"][:, 2] = 7
    stores = [write_maps(folder / f"{n}.zarr", m) for n, m in zip("ab", (a, b), strict=True)]
    for store in stores:
        of_moments.measure(store, moments_of(store), splits)
    return *stores, b


def expected(maps, size, images):
    values = upsample(maps[images], size).swapaxes(0, 1).reshape(maps.shape[1], -1)
    found = np.cov(values, bias=True)
    constant = np.ptp(values, 1) < 1e-9
    found[constant] = np.nan
    found[:, constant] = np.nan
    return found


@pytest.mark.parametrize("rows", [512, 2])
def test_covariances_are_those_of_the_upsampled_maps(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(step, "ROWS", rows)
    monkeypatch.setattr(step, "budgets", lambda _: (200, 1e6))  # bytes, a pass for a few rows each
    monkeypatch.setitem(step.MULTIPLIED_BYTES, "cpu", 1000)
    a, b, maps = stores_of(tmp_path)
    measure(b, moments_of(b), moments_of(a), tmp_path / "x.zarr")
    found = xr.open_datatree(tmp_path / "x.zarr", engine="zarr")
    assert found.attrs == {"model": "b", "compared_with": "a"}
    split = split_of(IMAGES, 2)
    for layer, of_layer in maps.items():
        held = found[layer].to_dataset()
        sizes = sizes_of_comparison(of_layer.shape[2:], LARGER)
        kept = zip(held["height"].values.tolist(), held["width"].values.tolist(), strict=True)
        assert list(kept) == sizes and len(sizes) == 2
        for place, size in enumerate(sizes):
            for values, images in (
                (held["covariance"], slice(None)),
                *((held["split_covariance"][s], split == s) for s in range(2)),
            ):
                brute = expected(of_layer, size, images)
                np.testing.assert_allclose(values[place], brute, atol=2e-6)


def test_without_splits_there_is_the_covariance_over_all_images_alone(tmp_path):
    a, b, _ = stores_of(tmp_path, splits=1)
    measure(b, moments_of(b), moments_of(a), tmp_path / "x.zarr")
    layer = open_tree(tmp_path / "x.zarr")["layer0"].to_dataset()
    assert list(layer.data_vars) == ["covariance"]


def test_moments_of_another_model_are_refused(tmp_path):
    a, b, _ = stores_of(tmp_path)
    with pytest.raises(StoreError, match=r"a\.zarr are not the moments of .*b\.zarr"):
        measure(b, moments_of(a), moments_of(a), tmp_path / "x.zarr")


def test_covariances_for_another_dictionary_are_refused_with_the_file_and_the_remedy(tmp_path):
    a, b, maps = stores_of(tmp_path)
    measure(b, moments_of(b), moments_of(a), tmp_path / "b.zarr.cov" / "b.zarr")
    store = tmp_path / "b.zarr.cov" / "b.zarr"
    trees = [open_tree(moments_of(one)) for one in (a, b)]
    assert open_covariances(store, ["a", "b"], trees, "samples").attrs["model"] == "b"
    with pytest.raises(StoreError, match=r"b\.zarr is on samples, and the correlations are on x"):
        open_covariances(store, ["a", "b"], trees, "x")
    with pytest.raises(StoreError, match="read as that of a"):
        open_covariances(store, ["b", "a"], trees, "samples")
    (tmp_path / "other").mkdir()
    larger = write_maps(tmp_path / "other" / "a.zarr", random_maps(1, IMAGES, (3, 20, 20)))
    sizes = [open_tree(moments_of(larger)), trees[1]]
    with pytest.raises(StoreError, match=r"layer0: not at 20 x 20 positions.*snakemake"):
        open_covariances(store, ["a", "b"], sizes, "samples")
    further = write_maps(tmp_path / "other" / "b.zarr", {**maps, "layer2": maps["layer1"]})
    with pytest.raises(StoreError, match=r"has no layer layer2 of b: it is of other layers.*snake"):
        open_covariances(store, ["a", "b"], [trees[0], open_tree(moments_of(further))], "samples")
