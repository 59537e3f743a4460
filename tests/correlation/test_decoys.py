"""Decoys are the correlations of maps whose images were moved, and nothing else."""

import numpy as np
import pytest
import xarray as xr
from brute_force import brute_force, run

from rosetta_steps.correlation.decoys import images_that_stay, moved_images
from rosetta_steps.maps.moments import measure
from rosetta_steps.matching.nearest import nearest
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import Provenance
from rosetta_steps.testing import moments_of


def moved_by_hand(maps, strips, block, decoy, labels=None):
    """All maps of a model, as a decoy has them."""
    images = len(next(iter(maps.values())))
    order = np.empty(images, int)
    for start in range(0, images, strips):
        for first in range(start, min(start + strips, images), block):
            part = slice(first, min(first + block, start + strips, images))
            own = None if labels is None else labels[part]
            order[part] = part.start + moved_images(part, decoy + 1, own)[decoy]
    return {layer: of_layer[order] for layer, of_layer in maps.items()}


@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_decoy_is_the_correlation_with_the_images_of_b_moved(
    two_stores, tmp_path, splits, swapped
):
    a, b, maps_a, maps_b = two_stores
    if swapped:  # then the other model is held
        a, b, maps_a, maps_b = b, a, maps_b, maps_a
    for path in (a, b):
        measure(path, moments_of(path), splits)
    table = run(
        a, b, tmp_path / "x.zarr", images_per_strip=6, images_per_block=4, decoys=2, splits=splits
    )
    assert table.attrs["decoys"] == 2 and table.attrs["decoy_images_per_block"] == 4
    np.testing.assert_allclose(table["correlation"], brute_force(maps_a, maps_b), atol=1e-5)
    for decoy in range(2):
        expected = brute_force(maps_a, moved_by_hand(maps_b, 6, 4, decoy))
        np.testing.assert_allclose(table["decoy_correlation"][decoy], expected, atol=1e-5)
    assert not np.allclose(table["decoy_correlation"][0], table["decoy_correlation"][1])


def test_the_table_itself_is_the_same_bytes_with_and_without_decoys(two_stores, tmp_path):
    a, b, *_ = two_stores
    tables = [run(a, b, tmp_path / f"{n}.zarr", decoys=n)["correlation"].values for n in (0, 3)]
    np.testing.assert_array_equal(*tables)


def test_kept_neighbours_of_decoys_are_those_of_their_tables(two_stores, tmp_path):
    a, b, *_ = two_stores
    table = run(a, b, tmp_path / "table.zarr", decoys=2)["decoy_correlation"].values
    kept = run(a, b, tmp_path / "kept.zarr", decoys=2, nearest=3)
    for decoy in range(2):
        for side, values in (("a", table[decoy]), ("b", table[decoy].T)):
            expected = nearest(values, 3)
            found = kept.isel(decoy=decoy)
            np.testing.assert_array_equal(found[f"decoy_partner_{side}"], expected.partner)
            np.testing.assert_array_equal(found[f"decoy_correlation_{side}"], expected.correlation)


def test_no_image_keeps_its_own_maps():
    moved = moved_images(slice(64, 96), 20)
    assert (np.sort(moved, 1) == np.arange(32)).all()
    assert (moved != np.arange(32)).all()
    assert len({tuple(of_decoy) for of_decoy in moved}) == 20


def test_images_are_moved_within_their_class():
    labels = np.array([0, 1, 0, 1, 2, 0, 1, 0])
    moved = moved_images(slice(0, 8), 5, labels)
    assert (labels[moved] == labels).all()
    assert ((moved == np.arange(8)) == (labels == 2)).all()  # alone in its class
    assert images_that_stay(slice(0, 8), labels) == 1 and images_that_stay(slice(0, 8)) == 0


def test_classes_are_those_of_the_images(two_stores, tmp_path):
    a, b, maps_a, maps_b = two_stores
    count = len(next(iter(maps_a.values())))
    labels = np.arange(count) % 3
    samples = tmp_path / "samples.zarr"
    write_dataset(
        xr.Dataset({"label": ("image", labels)}), samples, Provenance("samples", [], "x", {})
    )
    settings = {"images_per_strip": count, "images_per_block": count, "decoys": 1}
    table = run(a, b, tmp_path / "x.zarr", samples=samples, **settings)
    expected = brute_force(maps_a, moved_by_hand(maps_b, count, count, 0, labels))
    np.testing.assert_allclose(table["decoy_correlation"][0], expected, atol=1e-5)
    assert table.attrs["decoy_images_that_stay"] == images_that_stay(slice(0, count), labels)


@pytest.mark.parametrize("splits", [1, 2])
def test_centred_on_mean_maps_a_table_is_the_correlation_of_what_is_left(
    two_stores, tmp_path, splits
):
    a, b, maps_a, maps_b = two_stores
    for path in (a, b):
        measure(path, moments_of(path), splits)
    settings = {"images_per_strip": 6, "images_per_block": 4, "decoys": 1, "splits": splits}
    table = run(a, b, tmp_path / "x.zarr", similarity="pearson_without_mean_maps", **settings)
    assert table["correlation"].attrs["long_name"] == "Pearson correlation about mean maps"

    def left(maps):
        maps = {layer: of.astype(np.float64) for layer, of in maps.items()}
        return {layer: of - of.mean(0) for layer, of in maps.items()}

    np.testing.assert_allclose(
        table["correlation"], brute_force(left(maps_a), left(maps_b)), atol=1e-5
    )
    expected = brute_force(left(maps_a), left(moved_by_hand(maps_b, 6, 4, 0)))
    np.testing.assert_allclose(table["decoy_correlation"][0], expected, atol=1e-5)
    for split in range(splits if splits > 1 else 0):
        chosen = table["split_of_image"].values == split
        parts = [{n: m[chosen] for n, m in maps.items()} for maps in (maps_a, maps_b)]
        found = table["split_correlation"][split]
        np.testing.assert_allclose(found, brute_force(*map(left, parts)), atol=1e-5)
