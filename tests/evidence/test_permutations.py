"""Moments of permutations, against permutations carried out."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from rosetta_steps.evidence import permutations as step
from rosetta_steps.evidence.parts import PAIR
from rosetta_steps.evidence.permutations import (
    LEAST_P,
    SIMULATED,
    centred,
    drawn_orders,
    measure,
    permutation_variance,
    second_moments,
    simulated_p,
    z_of,
)
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.tables import write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.testing import made, random_maps, write_maps

IMAGES = 120


def all_orders(classes):
    """Every permutation of images within classes."""
    for parts in itertools.product(*(itertools.permutations(images) for images in classes)):
        order = np.empty(sum(map(len, classes)), int)
        for images, part in zip(classes, parts, strict=True):
            order[images] = part
        yield order


@pytest.mark.parametrize("classes", [[range(6)], [[0, 2, 5, 7], [1, 3, 4], [6]]])
def test_moments_are_those_of_all_permutations(classes):
    classes = [np.array(images) for images in classes]
    images = sum(map(len, classes))
    draw = np.random.default_rng(0)
    a, b = (centred(torch.from_numpy(draw.exponential(size=(3, images, 5))), classes) for _ in "ab")
    totals = torch.stack(
        [torch.einsum("aip,bip->ab", a, b[:, order]) for order in all_orders(classes)]
    )
    moments = [[second_moments(maps[:, one]) for one in classes] for maps in (a, b)]
    variance = permutation_variance(*moments, classes)
    torch.testing.assert_close(variance, totals.var(0, correction=0), rtol=1e-6, atol=0)
    torch.testing.assert_close(totals.mean(0), torch.zeros(3, 3).double(), rtol=0, atol=1e-9)


def test_p_of_permutations_carried_out_is_that_of_all_permutations_and_never_0():
    classes = [np.arange(6)]
    draw = np.random.default_rng(2)
    a, b = (torch.from_numpy(draw.normal(size=(6, 4))) for _ in "ab")
    totals = np.array([(a * b[order]).sum().item() for order in all_orders(classes)])
    exact = (totals >= (a * b).sum().item() - 1e-9).mean()
    orders = drawn_orders(classes, 20_000)
    found = simulated_p(a, b, orders)
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))
    orders = drawn_orders([np.arange(20)])
    assert simulated_p(torch.eye(20), torch.eye(20), orders) == 1 / (1 + SIMULATED)
    within = drawn_orders([np.array([0, 2, 4]), np.array([1, 3])], 50)
    assert (np.sort(within[:, [0, 2, 4]]) == [0, 2, 4]).all() and len(np.unique(within, axis=0)) > 5


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two models of noise at several sizes; the first layers share a signal, one unit is rare."""
    folder = tmp_path_factory.mktemp("permuted")
    a = random_maps(1, IMAGES, (6, 3, 3), (40, 12, 9))
    b = random_maps(2, IMAGES, (5, 7, 7), (50, 10, 10))
    for maps in (a, b):  # a favourite place of all units, which is no agreement
        for layer in maps.values():
            layer[..., 0, 0] += 20
    b["layer0"][:, 0] += 4 * np.kron(a["layer0"][:, 0], np.ones((1, 3, 3)))[:, :7, :7].astype("f2")
    a["layer0"][:, 5] = b["layer0"][:, 4] = 0
    a["layer0"][:3, 5] = b["layer0"][:3, 4] = 9
    return [write_maps(folder / f"{n}.zarr", m, 32) for n, m in zip("ab", (a, b), strict=True)]


def every_pair(readers):
    units = [
        [(layer, channel) for layer in reader.layers for channel in range(reader.channels[layer])]
        for reader in readers
    ]
    rows = [(*one, *other) for one, other in itertools.product(*units)]
    return pd.DataFrame(rows, columns=PAIR)


@pytest.mark.parametrize("held", [1e9, 1.0])
def test_noise_is_normal_and_a_shared_signal_stands_out(stores, monkeypatch, held):
    monkeypatch.setattr(step, "POOLED_BYTES", held)  # layer by layer, and nothing kept
    readers = [MapReader(store) for store in stores]
    pairs = every_pair(readers)
    found = z_of(readers, pairs)
    z, p = found["z"].values, found["p"].values
    noise = (pairs["layer_a"] == "layer1") | (pairs["layer_b"] == "layer1")
    assert z[noise].std() == pytest.approx(1, abs=0.05) and abs(z[noise].mean()) < 0.05
    assert (p[noise] <= 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert (p > 0).all() and p.min() >= LEAST_P
    assert found.attrs["spread"] == pytest.approx(1, abs=0.06)
    assert found.attrs["decoy_spread"] == pytest.approx(1, abs=0.06)
    assert found["pairs"].sum() == found["decoys"].sum() == len(pairs)
    assert found["expected_above"][0] == pytest.approx(found["decoys_above"][0], abs=40)
    shared = int(np.flatnonzero((pairs[["channel_a", "channel_b"]] == 0).all(axis=1) & ~noise)[0])
    assert z[shared] > found.attrs["threshold"] > 3
    # Carried by three images: the normal knows nothing of such a tail.
    rare = ((pairs["channel_a"] == 5) & (pairs["channel_b"] == 4) & ~noise).to_numpy()
    assert found["simulated"].values[rare].all()
    assert (found["effective_images_a"].values[rare] < 4).all()
    assert p[rare] == 1 / (1 + SIMULATED) and found["simulated"].sum() < 200


def test_z_is_that_of_the_pooled_maps(stores):
    readers = [MapReader(store) for store in stores]
    pairs = pd.DataFrame([("layer1", 3, "layer0", 2), ("layer0", 1, "layer1", 7)], columns=PAIR)
    labels = np.arange(IMAGES) % 3
    found = z_of(readers, pairs, labels)
    classes = [np.flatnonzero(labels == label) for label in range(3)]
    for row, size in enumerate([(7, 7), (3, 3)]):
        maps = []
        for reader, side in zip(readers, "ab", strict=True):
            own = reader.read(pairs[f"layer_{side}"][row], slice(0, IMAGES))
            one = torch.from_numpy(own[:, [pairs[f"channel_{side}"][row]]]).double()
            small = torch.nn.functional.adaptive_avg_pool2d(one, size)
            maps.append(centred(small.flatten(2).transpose(0, 1), classes))
        moments = [[second_moments(of[:, one]) for one in classes] for of in maps]
        variance = permutation_variance(*moments, classes)
        z = ((maps[0] * maps[1]).sum() / variance.sqrt()).item()
        assert found["z"][row] == pytest.approx(z, rel=1e-4)
        energies = maps[0].square().sum() * maps[1].square().sum()
        positions = (energies / (IMAGES - 3) / variance).item()
        assert found["effective_positions"][row] == pytest.approx(positions, rel=1e-4)


def test_images_alone_in_their_class_are_left_out_and_none_else_is_refused(stores, capsys):
    readers = [MapReader(store) for store in stores]
    pairs = every_pair(readers).iloc[:3]
    labels = np.zeros(IMAGES, int)
    labels[:4] = 1 + np.arange(4)
    assert z_of(readers, pairs, labels)["z"].notnull().all()
    assert "4 of 120 images are alone in their class" in capsys.readouterr().err
    with pytest.raises(UserError, match="each of the 120 images is alone in its class"):
        z_of(readers, pairs, np.arange(IMAGES))


def test_a_store_keeps_what_was_found(stores, tmp_path):
    pairs = every_pair([MapReader(store) for store in stores]).iloc[:4]
    table = pairs.assign(correlation=0.1, rank_a=1, rank_b=1)
    write_table(table, tmp_path / "x.csv", made("best buddies", "a", "b"))
    samples = write_samples(tmp_path / "samples.zarr")
    found = measure(stores, tmp_path / "x.csv", samples, tmp_path / "x.zarr")
    again = open_dataset(tmp_path / "x.zarr")
    np.testing.assert_array_equal(again["z"], found["z"])
    assert again.attrs["model_a"] == "a" and again.attrs["all_pairs"] == 46 * 55


def write_samples(path):
    import xarray as xr

    from rosetta_steps.storage.datasets import write_dataset
    from rosetta_steps.storage.manifests import Provenance

    images = np.zeros((IMAGES, 3, 4, 4), np.float32)
    shown = xr.Dataset({"image": (("image", "rgb", "y", "x"), images)})
    write_dataset(shown, path, Provenance("images", [], "samples"))
    return path
