"""Evidence where there is little to go by: too few images, classes of one, no pair at all."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from brute_force import run

from rosetta_steps.evidence.image_sums import sums_of
from rosetta_steps.evidence.intervals import ImageSums
from rosetta_steps.evidence.parts import PAIR, PartsOfPairs
from rosetta_steps.evidence.settings import Evidence
from rosetta_steps.evidence.table import evidence_of, write_evidence
from rosetta_steps.maps.moments import measure
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import read_evidence, write_table
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import open_tree, write_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients, refuse_mixed
from rosetta_steps.testing import made, moments_of, random_maps, write_maps

IMAGES = 24
NUMBERS = ["where", "amount", "place", "q", "q_place", "low", "high"]


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """Two models whose first layers are alike: stores, correlations, sums of best buddies."""
    folder = tmp_path_factory.mktemp("mined")
    a, b = (random_maps(seed, IMAGES, (4, 6, 6), (3, 3, 3)) for seed in (1, 2))
    b["layer0"] = (b["layer0"] + 2 * a["layer0"]).astype(np.float16)
    stores = [write_maps(folder / f"{n}.zarr", m, 8) for n, m in zip("ab", (a, b), strict=True)]
    for store in stores:
        measure(store, moments_of(store), 2)
    table = run(*stores, folder / "table.zarr", decoys=2, splits=2)
    pairs = table_of(table, 2)
    moments = [open_tree(moments_of(store)) for store in stores]
    pictures = np.random.default_rng(0).random((IMAGES, 3, 12, 12), np.float32)
    shown = xr.DataArray(pictures, dims=("image", "rgb", "y", "x"))
    sums = sums_of([MapReader(store) for store in stores], moments, pairs, shown)
    return folder, stores, table, pairs, moments, sums


def test_too_few_images_leave_columns_empty_and_say_how_many_would_do(mined, capsys):
    _, _, table, pairs, moments, sums = mined
    found = evidence_of(table, pairs, PartsOfPairs(moments), sums, 2, settings=Evidence(level=0.2))
    assert found[NUMBERS].notna().all(axis=None) and found["without_top_images"].isna().all()
    said = "24 images are too few to leave out the 10 most influential: 50 would do."
    assert said in capsys.readouterr().err
    found = evidence_of(table, pairs, PartsOfPairs(moments), sums.isel(image=slice(12)), 2)
    assert found["low"].isna().all()
    assert "12 images are too few to draw from again: 20 would do" in capsys.readouterr().err


def test_too_few_pairs_for_q_to_reach_the_level_leave_it_empty(mined, capsys):
    _, _, table, pairs, moments, sums = mined
    found = evidence_of(table, pairs, PartsOfPairs(moments), sums, 2)
    assert len(pairs) < 20 and found[["q", "q_place"]].isna().all(axis=None)
    assert f"{len(pairs)} pairs are too few for q to reach 0.05: 20 would do" in (
        capsys.readouterr().err
    )
    assert not found["verdict"].str.contains("chance").any()


def test_stores_of_another_sample_set_or_model_are_refused(mined, tmp_path):
    _, stores, _, _, _, _ = mined
    a, b = (moments_of(store) for store in stores)
    refuse_mixed({a: ["a"], b: ["b"]})
    with pytest.raises(StoreError, match="of b, and read as that of a"):
        refuse_mixed({a: ["a"], b: ["a"]})
    table = pd.DataFrame({"left": [0.5]})
    write_table(table, tmp_path / "x.csv", Provenance("evidence", ["b"], "other", {}))
    with pytest.raises(StoreError, match="x.csv is of sample set other, and .*a.zarr of "):
        refuse_mixed({a: ["a"], tmp_path / "x.csv": ["b"]})


def test_decoys_that_can_move_few_images_give_no_q(mined, capsys):
    _, _, table, pairs, moments, sums = mined
    of_classes = table.assign_attrs(decoy_images_that_stay=20)
    found = evidence_of(of_classes, pairs, PartsOfPairs(moments), sums, 2)
    assert found[["q", "q_place"]].isna().all(axis=None)
    assert "decoys could move 4 of 24 images only" in capsys.readouterr().err
    assert not found["verdict"].str.contains("chance").any()


def test_held_out_is_r_on_the_half_that_did_not_choose_the_pair(mined):
    _, _, table, pairs, moments, sums = mined
    found = evidence_of(table, pairs, PartsOfPairs(moments), sums, 2)["held_out"]
    halves = table["split_correlation"].values
    units = [
        {
            (str(layer), int(channel)): place
            for place, (layer, channel) in enumerate(
                zip(table[f"layer_{s}"].values, table[f"channel_{s}"].values, strict=True)
            )
        }
        for s in "ab"
    ]
    chosen = [
        set(
            table_of(
                table[["split_correlation"]]
                .isel(split=half)
                .rename(split_correlation="correlation"),
                2,
            )[PAIR].itertuples(index=False, name=None)
        )
        for half in range(2)
    ]
    for row, pair in enumerate(pairs[PAIR].itertuples(index=False, name=None)):
        at = units[0][pair[:2]], units[1][pair[2:]]
        values = [halves[1 - half][at] for half in range(2) if pair in chosen[half]]
        assert found[row] == pytest.approx(np.mean(values) if values else np.nan, nan_ok=True)
    assert found.notna().any()


def test_without_decoys_and_splits_their_columns_are_empty(mined):
    _, _, table, pairs, moments, sums = mined
    alone = table[["correlation"]]
    found = evidence_of(alone, pairs, PartsOfPairs(moments), sums, 2)
    assert found[["q", "q_place", "held_out"]].isna().all(axis=None)


def test_mined_without_mean_maps_nothing_of_r_is_where(mined, tmp_path):
    _, stores, _, _, moments, _ = mined
    table = run(
        *stores, tmp_path / "left.zarr", decoys=1, splits=2, similarity="pearson_without_mean_maps"
    )
    pairs = table_of(table, 2)
    shown = xr.DataArray(np.zeros((IMAGES, 3, 4, 4), np.float32), dims=("image", "rgb", "y", "x"))
    sums = sums_of([MapReader(store) for store in stores], moments, pairs, shown)
    found = evidence_of(table, pairs, PartsOfPairs(moments), sums, 2)
    assert (found["where"] == 0).all()
    of_left = ImageSums.of(sums, "left").correlation()[0]
    np.testing.assert_allclose(of_left, found["correlation"], atol=1e-5)
    assert (found["low"] <= found["correlation"]).all()


def test_no_pair_gives_a_table_without_rows(mined, tmp_path):
    _, stores, table, pairs, moments, _ = mined
    shown = xr.DataArray(np.zeros((IMAGES, 3, 4, 4), np.float32), dims=("image", "rgb", "y", "x"))
    none = pairs.iloc[:0]
    sums = sums_of([MapReader(store) for store in stores], moments, none, shown)
    write_dataset(sums, tmp_path / "sums.zarr", made("image sums", "a", "b"))
    found = evidence_of(table, none, PartsOfPairs(moments), sums, 2)
    write_table(found, tmp_path / "x.csv", made("evidence", "a", "b"))
    assert read_evidence(tmp_path / "x.csv").empty


def test_a_table_keeps_what_it_says_and_what_it_does_not(mined, tmp_path):
    _, _, table, pairs, moments, sums = mined
    found = evidence_of(table, pairs, PartsOfPairs(moments), sums, 2)
    write_table(found, tmp_path / "x.csv", made("evidence", "a", "b"))
    again = read_evidence(tmp_path / "x.csv", ["a", "b"])
    assert list(again["verdict"]) == list(found["verdict"])
    assert again["rotation_excess"].isna().all() and again["q"].dtype == float
    np.testing.assert_allclose(again["where"], found["where"])


def test_evidence_of_a_table_that_was_mined_with_another_k_is_refused(mined, tmp_path):
    folder, stores, _, pairs, _, sums = mined
    made_of = ingredients(stores)
    write_table(pairs, tmp_path / "buddies.csv", made("best buddies", "a", "b", of=made_of))
    write_dataset(sums, tmp_path / "sums.zarr", made("image sums", "a", "b", of=made_of))
    moments = [moments_of(store) for store in stores]
    given = (folder / "table.zarr", tmp_path / "buddies.csv", moments, tmp_path / "sums.zarr")
    with pytest.raises(StoreError, match="was not mined from .* with K = 1"):
        write_evidence(*given, tmp_path / "x.csv", neighbours=1)
    write_evidence(*given, tmp_path / "x.csv", neighbours=2)
    assert len(read_evidence(tmp_path / "x.csv")) == len(pairs)
