"""Two models of which it is known what each pair of units shares: every group gets its badge."""

import numpy as np
import pytest
import torch
import xarray as xr
from brute_force import run

from rosetta_steps.evidence import covariances
from rosetta_steps.evidence.image_sums import sums_of
from rosetta_steps.evidence.low_level import FEATURES, features, resized
from rosetta_steps.evidence.parts import PartsOfPairs
from rosetta_steps.evidence.table import evidence_of
from rosetta_steps.maps.moments import measure
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.storage.datasets import open_tree
from rosetta_steps.testing import moments_of, write_maps

IMAGES, UNITS, NEIGHBOURS = 200, 40, 5
SIZES = (16, 8)  # of the maps of both models
# What a pair of each group fails; pairs of units that share something real fail nothing.
BADGES = {
    "shared": None,
    "position": "where only",
    "low": "low level",
    "outlier": "few images",
    "noise": "not above chance",
    "rotated": "distributed",
}
ROTATED = 20  # units of a signal in one model, of sums and differences of two in the other


def bumps(centres, size, width):
    """A bump at each centre, which are in [0, 1], (..., y, x)."""
    at = (np.arange(size) + 0.5) / size
    y, x = (
        np.exp(-((at - c[..., None]) ** 2) / (2 * width**2)) for c in np.moveaxis(centres, -1, 0)
    )
    return y[..., :, None] * x[..., None, :]


def pictures(random):
    """Images with a coloured ground, a coloured disc and a stripe, all of them at random."""
    at = np.linspace(0, 1, 32)
    found = np.empty((IMAGES, 3, 32, 32), np.float32)
    for image in found:
        ground, disc, stripe = random.random((3, 3))
        y, x, radius, row = random.random(4)
        image[:] = ground[:, None, None]
        inside = (at[:, None] - y) ** 2 + (at[None] - x) ** 2 < (0.1 + 0.3 * radius) ** 2
        image[:, inside] = disc[:, None]
        image[:, int(28 * row) : int(28 * row) + 3] = stripe[:, None, None]
    return found


def planted(random, images):
    """Maps of both models, a layer a group; unit k of a goes with unit k of b."""
    strength = random.uniform(0.5, 1.5, UNITS)  # of what is shared, against noise of 1
    centres = random.random((IMAGES, UNITS, 2))
    presence = random.random((IMAGES, UNITS)) < 0.8
    favourites = random.random((UNITS, 2))
    chosen = random.integers(0, len(FEATURES) - 3, UNITS)  # no place among them
    lucky = random.integers(0, IMAGES, UNITS)
    models = []
    for size in SIZES:
        shape = (IMAGES, UNITS, size, size)
        shared = (
            4 * strength[:, None, None] * bumps(centres, size, 0.15) * presence[..., None, None]
        )
        position = 3 * np.broadcast_to(bumps(favourites, size, 0.2), shape)
        shown = resized(features(torch.from_numpy(images)), (size, size)).numpy()[:, chosen]
        spread = shown.std((0, 2, 3), keepdims=True)
        low = 1.5 * (shown - shown.mean((0, 2, 3), keepdims=True)) / spread
        outlier = np.zeros_like(position)
        outlier[lucky, np.arange(UNITS)] = 60 * bumps(favourites, size, 0.2)
        groups = {"shared": shared, "position": position, "low": low, "outlier": outlier}
        groups |= {"noise": np.zeros_like(position)}
        models.append(
            {n: (10 + m + random.normal(0, 1, shape)).astype(np.float16) for n, m in groups.items()}
        )
    return models


def rotated(random):
    """Maps of both models: units of b are sum and difference of two signals that a has apart."""
    strength = random.uniform(0.5, 1.5, ROTATED // 2).repeat(2)
    centres = random.random((IMAGES, ROTATED, 2))
    models = []
    for size in SIZES:
        signals = 4 * strength[:, None, None] * bumps(centres, size, 0.15)
        if models:
            first, second = signals[:, ::2], signals[:, 1::2]
            signals = np.stack([first + second, first - second], 2).reshape(signals.shape)
        models.append((10 + signals + random.normal(0, 1, signals.shape)).astype(np.float16))
    return models


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Evidence of the best buddies of both models, and the group of each pair."""
    folder, random = tmp_path_factory.mktemp("planted"), np.random.default_rng(0)
    images = pictures(random)
    further = rotated(np.random.default_rng(1))
    stores = [
        write_maps(folder / f"{name}.zarr", maps | {"rotated": more}, images_per_shard=32)
        for name, maps, more in zip("ab", planted(random, images), further, strict=True)
    ]
    for store in stores:
        measure(store, moments_of(store), 2)
    table = run(*stores, folder / "table.zarr", decoys=3, splits=2)
    pairs = table_of(table, NEIGHBOURS)
    moments = [open_tree(moments_of(store)) for store in stores]
    within = folder / "covariances.zarr"
    covariances.measure(stores[1], *(moments_of(store) for store in stores[::-1]), within)
    shown = xr.DataArray(images, dims=("image", "rgb", "y", "x"))
    sums = sums_of([MapReader(store) for store in stores], moments, pairs, shown)
    of_layers = open_tree(within)
    found = evidence_of(
        table, pairs, PartsOfPairs(moments), sums, NEIGHBOURS, covariances=of_layers
    )
    # Two low-level units share their feature, whichever they are; others are planted one by one.
    same = (found["layer_a"] == found["layer_b"]) & (
        (found["channel_a"] == found["channel_b"])
        | (found["layer_a"] == "low")
        | ((found["layer_a"] == "rotated") & (found["channel_a"] // 2 == found["channel_b"] // 2))
    )
    return found.assign(group=found["layer_a"].where(same, "noise"))


def test_what_is_shared_is_found_and_passes(judged):
    shared = judged[judged["group"] == "shared"]
    assert len(shared) >= 0.95 * UNITS
    passed = ~shared["verdict"].str.contains(":")
    assert passed.sum() >= 0.95 * UNITS, shared.loc[~passed, "verdict"].value_counts()


@pytest.mark.parametrize("group", ["position", "low", "outlier", "noise", "rotated"])
def test_no_more_than_a_twentieth_of_any_other_group_passes(judged, group):
    pairs = judged[judged["group"] == group]
    passed = ~pairs["verdict"].str.contains(":")
    assert len(pairs) and passed.mean() <= 0.05, pairs.loc[passed]
    named = pairs["verdict"].str.contains(BADGES[group])
    assert named.mean() >= 0.95, pairs["verdict"].value_counts()


def test_the_parts_of_every_pair_sum_to_its_r(judged):
    total = judged["where"] + judged["amount"] + judged["place"]
    np.testing.assert_allclose(total, judged["correlation"], atol=1e-6)


def test_intervals_hold_r_and_columns_that_were_not_computed_are_empty(judged):
    assert (judged["low"] <= judged["correlation"]).all()
    assert (judged["correlation"] <= judged["high"]).all()
    assert judged["untrained_excess"].isna().all()
    assert judged["rotation_excess"].notna().all()


def test_one_of_two_carriers_says_half_of_what_the_layer_does_and_a_shared_unit_all(judged):
    share = judged.groupby("group")["one_unit_share"].median()
    assert share["rotated"] == pytest.approx(0.5, abs=0.05)
    assert share["shared"] == pytest.approx(1.0, abs=0.1)
    excess = judged.groupby("group")["rotation_excess"].median()
    assert excess["shared"] > 0
