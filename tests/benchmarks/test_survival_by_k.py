"""Survival for several K, from results that were mined with the largest."""

import numpy as np
import pytest
import xarray as xr
from brute_force import run

from rosetta_steps.benchmarks.survival_by_k import evidence_with, table_for
from rosetta_steps.evidence.image_sums import sums_of
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.storage.datasets import open_tree, write_dataset
from rosetta_steps.testing import made, moments_of, random_maps, write_maps


@pytest.fixture
def mined(tmp_path):
    """A folder of results of two models, mined with K = 3."""
    folder = {kind: tmp_path / kind / "tiny" for kind in ("activations", "correlations")}
    stores = []
    for seed, name in enumerate("ab"):
        maps = random_maps(seed, 60, (8, 4, 4))
        stores.append(write_maps(folder["activations"] / f"{name}.zarr", maps))
    table = run(*stores, folder["correlations"] / "a--b.zarr", decoys=1)
    trees = []
    for name, store in zip("ab", stores, strict=True):
        moments_of(store).parent.mkdir(exist_ok=True)
        path = tmp_path / "moments/tiny" / f"{name}.zarr"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(moments_of(store))
        manifest = path.with_name(f"{path.name}.done.json")
        manifest.symlink_to(moments_of(store).with_name(f"{moments_of(store).name}.done.json"))
        trees.append(open_tree(moments_of(store)))
    images = xr.DataArray(np.zeros((60, 3, 4, 4), np.float32), dims=("image", "rgb", "y", "x"))
    readers = [MapReader(store) for store in stores]
    sums = sums_of(readers, trees, table_of(table, 3), images)
    write_dataset(sums, tmp_path / "image_sums/tiny/a--b.zarr", made("image sums", "a", "b"))
    return tmp_path


def test_a_smaller_k_has_the_pairs_that_it_mines_and_fewer_survive(mined):
    table = mined / "correlations/tiny/a--b.zarr"
    one, three = (evidence_with(table, k) for k in (1, 3))
    assert len(one) < len(three)
    both = one.merge(three, on=["layer_a", "channel_a", "layer_b", "channel_b"])
    np.testing.assert_allclose(both["where_x"], both["where_y"])
    found = table_for(mined, "tiny", [1, 3])
    assert found.loc["listed"].tolist() == [
        len(one), one["channel_a"].nunique(), len(three), three["channel_a"].nunique(),
    ]  # fmt: skip
    assert (found.loc["every test"] <= found.loc["listed"]).all()


def test_a_larger_k_than_was_mined_is_refused(mined):
    with pytest.raises(ValueError, match="with K = 5 there are no sums over images"):
        evidence_with(mined / "correlations/tiny/a--b.zarr", 5)


def test_untrained_copies_are_counted_by_themselves(mined):
    for kind in ("correlations", "image_sums"):
        store = mined / kind / "tiny"
        for path in list(store.glob("a--b.zarr*")):
            path.rename(store / path.name.replace("a--b", "a--b.untrained-0"))
    with pytest.raises(ValueError, match="has none of models: run snakemake dictionary"):
        table_for(mined, "tiny", [3])
    with pytest.raises(ValueError, match="has none of untrained copies 1: ask for their evidence"):
        table_for(mined, "tiny", [3], untrained=1)
