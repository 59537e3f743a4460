"""Best buddies on other images: what survives, by formulas and by brute force."""

import argparse

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from brute_force import brute_force, run
from scipy.stats import binomtest

from rosetta_steps.display.replication import carry_out as summarise
from rosetta_steps.evidence import replicated_pairs
from rosetta_steps.evidence.image_sums import sums_of
from rosetta_steps.evidence.parts import PAIR
from rosetta_steps.evidence.replicated_pairs import (
    CONFIRMATION,
    DECOYS,
    REFERENCE,
    Mined,
    decoys_as_mined,
    difference_draws,
    replicated,
)
from rosetta_steps.evidence.replication import EVERY_MODEL, summary, wilson
from rosetta_steps.maps.moments import measure
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import read_replicated_pairs, read_replication, write_table
from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.storage.datasets import open_tree, write_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients
from rosetta_steps.testing import moments_of, write_maps

IMAGES, NEIGHBOURS = 40, 2
SHAPES = ((5, 6, 6), (5, 4, 4))  # of both layers of both models


def maps(seed, broken):
    """Maps of two models; unit k of both shares something, but where `broken` says otherwise."""
    random = np.random.default_rng(seed)
    models = {}
    shared = [random.normal(0, 1, (IMAGES, *shape)) for shape in SHAPES]
    for model in "ab":
        models[model] = {}
        for index, own in enumerate(shared):
            found = random.normal(1, 1, own.shape) + 2 * own * (np.arange(5) < 4)[:, None, None]
            if broken and index == 1 and model == "b":
                found[:, :2] = random.normal(1, 3, found[:, :2].shape)
            models[model][f"1.{index}0"] = found.astype(np.float16)
    return models


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Three sample sets of the same two models: mined, of another kind, and of the same kind."""
    folder = tmp_path_factory.mktemp("sets")
    found = {}
    for seed, (name, broken) in enumerate({"x": False, "y": True, "again": False}.items()):
        own = folder / name
        given = maps(seed, broken)
        made_of = {f"samples on {name}": name}
        stores = [
            write_maps(
                own / f"{m}.zarr", given[m], 8,
                provenance=Provenance("activations", [m], name, made_of),
            )
            for m in "ab"
        ]  # fmt: skip
        for store in stores:
            measure(store, moments_of(store))
        table = run(*stores, own / "correlations.zarr", decoys=1)
        pairs = table_of(table, NEIGHBOURS)
        moments = [open_tree(moments_of(store)) for store in stores]
        shown = np.random.default_rng(seed).random((IMAGES, 3, 8, 8), np.float32)
        shown = xr.DataArray(shown, dims=("image", "rgb", "y", "x"))
        sums = sums_of([MapReader(store) for store in stores], moments, pairs, shown)
        origin = ingredients(stores)
        write_table(
            pairs, own / "buddies.csv", Provenance("best buddies", ["a", "b"], name, origin)
        )
        write_dataset(sums, own / "sums.zarr", Provenance("image sums", ["a", "b"], name, origin))
        found[name] = Mined(name, table, pairs, moments, sums), given, own
    return found


def of(sets, name):
    return sets[name][0]


def test_a_pair_survives_where_it_is_a_best_buddy_on_the_other_images_too(sets):
    x, y = of(sets, "x"), of(sets, "y")
    found = replicated(x, y, CONFIRMATION, resamples=100)
    there = set(y.pairs[PAIR].itertuples(index=False, name=None))
    expected = [pair in there for pair in x.pairs[PAIR].itertuples(index=False, name=None)]
    assert list(found["survived"] == 1) == expected
    # By its ranks as well, for a pair is a best buddy where both are at most K.
    by_rank = (found["rank_a"] <= NEIGHBOURS) & (found["rank_b"] <= NEIGHBOURS)
    assert list(by_rank) == expected and 0 < sum(expected) < len(expected)


def test_correlations_and_ranks_are_those_of_the_maps(sets):
    x, y = of(sets, "x"), of(sets, "y")
    found = replicated(x, y, CONFIRMATION, resamples=100)
    whole = brute_force(sets["y"][1]["a"], sets["y"][1]["b"])
    for row in found.itertuples():
        i = SHAPES[0][0] * int(row.layer_a[2]) + row.channel_a
        j = SHAPES[0][0] * int(row.layer_b[2]) + row.channel_b
        assert row.confirmed == pytest.approx(whole[i, j], abs=1e-5)
        assert row.rank_a == 1 + (whole[i] > whole[i, j]).sum()
        assert row.rank_b == 1 + (whole[:, j] > whole[i, j]).sum()
        here, there = (sets[name][1]["b"][row.layer_b][:, row.channel_b] for name in "xy")
        ratio = there.astype(float).std() / here.astype(float).std()
        assert row.deviation_ratio_b == pytest.approx(ratio, rel=1e-4)
        assert row.depth_a == 0.25 + 0.5 * int(row.layer_a[2])


def test_what_was_planted_is_lost_and_the_reference_keeps_it(sets):
    x = of(sets, "x")
    rows = {
        name: replicated(x, of(sets, name), CONFIRMATION, resamples=100) for name in ("y", "again")
    }

    def survived(table):
        planted = table[(table["layer_a"] == table["layer_b"]) & (table["channel_a"] < 2)]
        planted = planted[(planted["channel_a"] == planted["channel_b"])]
        return planted.set_index(["layer_a", "channel_a"])["survived"]

    assert list(survived(rows["again"])) == [1, 1, 1, 1]
    assert list(survived(rows["y"])) == [1, 1, 0, 0]


def test_the_interval_of_a_difference_draws_the_images_of_both_sets_apart(sets):
    x, y = of(sets, "x"), of(sets, "y")
    found = replicated(x, y, CONFIRMATION, resamples=2000)
    survived = found["survived"] == 1
    assert found.loc[~survived, "difference_low"].isna().all()
    row = found[survived & (found["correlation"] > 0.6)].iloc[0]
    draws = []
    for seed, name in enumerate("xy"):
        a, b = (sets[name][1][m][row[f"layer_{m}"]][:, row[f"channel_{m}"]] for m in "ab")
        random = np.random.default_rng(seed)
        weights = random.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), size=2000)
        values = [
            np.corrcoef(np.repeat(a, w, 0).ravel(), np.repeat(b, w, 0).ravel())[0, 1]
            for w in weights[:200]
        ]
        draws.append(np.array(values, float))
    own = difference_draws((x.sums, y.sums), found[survived], "mean", 2000)
    at = list(found[survived].index).index(row.name)
    np.testing.assert_allclose(own[:200, at], draws[1] - draws[0], atol=2e-3)
    low, high = np.quantile(own[:, at], [0.025, 0.975])
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((low, high))
    assert low < row["confirmed"] - row["correlation"] < high


def test_a_unit_that_never_varies_there_survives_nowhere(sets):
    x, y = of(sets, "x"), of(sets, "y")
    dead = y.correlations.copy(deep=True).load()
    layer, channel = x.pairs.loc[0, ["layer_a", "channel_a"]]
    at = (dead["layer_a"] == layer) & (dead["channel_a"] == channel)
    dead["correlation"] = dead["correlation"].where(~at)
    silent = Mined("y", dead, table_of(dead, NEIGHBOURS), y.moments, None)
    found = replicated(x, silent, CONFIRMATION)
    own = found[(found["layer_a"] == layer) & (found["channel_a"] == channel)]
    assert (own["survived"] == 0).all() and own[["confirmed", "rank_a", "rank_b"]].isna().all(
        axis=None
    )
    counted = summary({"b": found}, {CONFIRMATION: ("y", IMAGES)}, {})
    assert counted.iloc[0]["pairs"] == len(found)
    expected = (1 / found["rank_a"]).fillna(0).mean()
    assert counted.iloc[0]["mean_reciprocal_rank_a"] == pytest.approx(expected)


def test_of_nearest_partners_alone_survival_is_the_same(sets, tmp_path):
    x, y = of(sets, "x"), of(sets, "y")
    stores = [sets["y"][2] / f"{m}.zarr" for m in "ab"]
    kept = run(*stores, tmp_path / "near.zarr", nearest=NEIGHBOURS)
    near = Mined("y", kept, table_of(kept, NEIGHBOURS), y.moments, None)
    whole, found = replicated(x, y, CONFIRMATION), replicated(x, near, CONFIRMATION)
    pd.testing.assert_series_equal(whole["survived"], found["survived"])
    known = found["rank_a"].notna()
    np.testing.assert_array_equal(found["rank_a"][known], whole["rank_a"][known])
    assert (whole["rank_a"][~known] > NEIGHBOURS).all()


def test_decoys_have_the_survival_of_pairs_that_share_places_alone(sets):
    decoys = [decoys_as_mined(of(sets, name), NEIGHBOURS) for name in ("x", "again")]
    found = replicated(*decoys, DECOYS)
    whole = replicated(of(sets, "x"), of(sets, "again"), REFERENCE)
    assert found["survived"].mean() < 0.5 < whole["survived"].mean()


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (3, 7), (233, 1147), (9, 9)])
def test_wilsons_interval_is_that_of_scipy(successes, trials):
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_groups_share_out_all_pairs_and_add_up(sets):
    x = of(sets, "x")
    table = pd.concat(
        [
            replicated(x, of(sets, "y"), CONFIRMATION, resamples=100),
            replicated(x, of(sets, "again"), REFERENCE, resamples=100),
        ]
    )
    names = {CONFIRMATION: ("y", IMAGES), REFERENCE: ("again", IMAGES)}
    found = summary({"b": table, "c": table}, names, {})
    total = found[(found["grouping"] == "all") & (found["model"] == EVERY_MODEL)]
    assert list(total["pairs"]) == [2 * len(x.pairs)] * 2
    assert list(total["comparison"]) == [CONFIRMATION, REFERENCE]
    assert total["share"].iloc[0] < total["share"].iloc[1]
    for _, rows in found.groupby(["comparison", "model", "grouping"]):
        whole = found[(found["comparison"] == rows["comparison"].iloc[0])]
        whole = whole[(whole["model"] == rows["model"].iloc[0]) & (whole["grouping"] == "all")]
        assert rows["pairs"].sum() == whole["pairs"].item()
        assert rows["survived"].sum() == whole["survived"].item()
    lost = found[(found["grouping"] == "depth_b") & (found["model"] == "b")]
    lost = lost[lost["comparison"] == CONFIRMATION].set_index("group")["share"]
    assert lost["late"] < lost["early"]  # the second layer is the one that was broken


@pytest.fixture
def command(sets, tmp_path):
    """The options of both steps, for two comparisons."""
    folders = [sets[name][2] for name in ("x", "y", "again")]
    shared = {"resamples": 100, "identity": None, "comparisons": [CONFIRMATION, REFERENCE]}
    sums = [folder / "sums.zarr" for folder in folders]
    pairs = argparse.Namespace(
        **shared, neighbours=NEIGHBOURS, output=tmp_path / "a--b.csv", image_sums=sums,
        correlations=[folder / "correlations.zarr" for folder in folders],
        buddies=[folder / "buddies.csv" for folder in folders],
        moments_a=[folder / "moments/a.zarr" for folder in folders],
        moments_b=[folder / "moments/b.zarr" for folder in folders],
    )  # fmt: skip
    both = argparse.Namespace(
        **shared,
        pairs=[pairs.output],
        image_sums=sums,
        similarity="pearson",
        output=tmp_path / "name.csv",
    )
    return pairs, both


def test_both_steps_write_tables_and_a_figure(command):
    pairs, both = command
    replicated_pairs.carry_out(pairs)
    table = read_replicated_pairs(pairs.output, ["a", "b"])
    assert set(table["comparison"]) == {CONFIRMATION, REFERENCE, DECOYS}
    summarise(both)
    found = read_replication(both.output)
    assert set(found["sample_set"]) == {"y", "again"} and set(found["model"]) == {"b"}
    row = found.iloc[0]
    assert row["share_low"] < row["share"] < row["share_high"]
    assert row["survivors_difference_low"] < row["survivors_difference_high"]
    assert both.output.with_suffix(".png").is_file() and both.output.with_suffix(".pdf").is_file()


def test_a_mined_set_of_another_k_is_refused(command):
    pairs, _ = command
    pairs.neighbours = 1
    with pytest.raises(StoreError, match="was not mined from .* with K = 1"):
        replicated_pairs.carry_out(pairs)


def test_as_many_stores_as_sample_sets_are_wanted(command):
    pairs, both = command
    pairs.moments_a = pairs.moments_a[:2]
    with pytest.raises(UserError, match="and of one for each of --comparisons"):
        replicated_pairs.carry_out(pairs)
    with pytest.raises(UserError, match="2 --image-sums of 3 sample sets and 1 --pairs"):
        both.image_sums = both.image_sums[:2]
        summarise(both)


def test_other_models_other_layers_the_same_set_and_few_images_are_refused(sets):
    x, y = of(sets, "x"), of(sets, "y")

    def changed(name="y", **attrs):
        return Mined(name, y.correlations.assign_attrs(attrs), y.pairs, y.moments, y.sums)

    with pytest.raises(UserError, match="x and x: a match that is mined on x"):
        replicated(x, changed("x"), CONFIRMATION)
    with pytest.raises(StoreError, match="other models: a and b, and a and c"):
        replicated(x, changed(model_b="c"), CONFIRMATION)
    with pytest.raises(UserError, match="y has 19 images, .* 20 at least"):
        replicated(x, changed(images=19), CONFIRMATION)
    less = Mined("y", y.correlations.isel(unit_b=slice(0, 5)), y.pairs, y.moments, y.sums)
    with pytest.raises(StoreError, match=r"other units of b: layers 1.00, 1.10, and 1.00"):
        replicated(x, less, CONFIRMATION)
