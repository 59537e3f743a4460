"""Where, amount and place are parts of r, whatever the sizes."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from brute_force import brute_force, upsample

from rosetta_steps.evidence.image_sums import sums_of
from rosetta_steps.evidence.intervals import ImageSums
from rosetta_steps.evidence.low_level import FEATURES, features, resized
from rosetta_steps.evidence.parts import PartsOfPairs, correlation_left
from rosetta_steps.maps.resampling import comparison_size, meeting_size, upsampling
from rosetta_steps.maps.store import MapReader
from rosetta_steps.storage.datasets import open_tree
from rosetta_steps.testing import moments_of, random_maps, write_maps


@pytest.fixture
def measured(two_stores):
    """Every pair of units of two models: their maps, moments and sums over images."""
    a, b, maps_a, maps_b = two_stores
    units = [
        [(layer, channel) for layer, of in maps.items() for channel in range(of.shape[1])]
        for maps in (maps_a, maps_b)
    ]
    pairs = pd.DataFrame(
        [(*one, *other) for one, other in itertools.product(*units)],
        columns=["layer_a", "channel_a", "layer_b", "channel_b"],
    ).sample(frac=1, random_state=0, ignore_index=True)
    moments = [open_tree(moments_of(path)) for path in (a, b)]
    pictures = np.random.default_rng(3).random((10, 3, 24, 24), np.float32)
    images = xr.DataArray(pictures, dims=("image", "rgb", "y", "x"))
    sums = sums_of([MapReader(a), MapReader(b)], moments, pairs, images)
    return pairs, (maps_a, maps_b), moments, sums, images


def both_maps(pair, maps):
    """Maps of a pair at their size of comparison, (image, y, x) float64."""
    found = [of[layer][:, [c]] for of, (layer, c) in zip(maps, (pair[:2], pair[2:]), strict=True)]
    size = comparison_size(found[0].shape[2:], found[1].shape[2:])
    return [upsample(one, size)[:, 0] for one in found]


def test_the_three_parts_are_those_of_their_formulas_and_sum_to_r(measured):
    pairs, maps, moments, sums, _ = measured
    of_pairs = PartsOfPairs(moments).of(pairs)
    r = ImageSums.of(sums).correlation()[0]
    amount = ImageSums.of(sums).amount() / of_pairs["deviations"].to_numpy()
    for row, pair in enumerate(pairs.itertuples(index=False)):
        a, b = both_maps(pair, maps)
        deviations = a.std() * b.std()
        assert of_pairs["deviations"][row] == pytest.approx(deviations, rel=1e-6)
        mean_a, mean_b = a.mean(0), b.mean(0)
        where = ((mean_a - a.mean()) * (mean_b - b.mean())).mean() / deviations
        assert of_pairs["where"][row] == pytest.approx(where, abs=1e-6)
        of_images = [x.mean((1, 2)) - x.mean() for x in (a, b)]
        assert amount[row] == pytest.approx(
            (of_images[0] * of_images[1]).mean() / deviations, abs=1e-6
        )
        assert r[row] == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-6)
        # What is left of r without both: the covariance about row and column means.
        rest = [x - x.mean(0) - x.mean((1, 2))[:, None, None] + x.mean() for x in (a, b)]
        place = (rest[0] * rest[1]).mean() / deviations
        assert r[row] - where - amount[row] == pytest.approx(place, abs=2e-6)


def test_parts_of_pairs_do_not_depend_on_which_were_asked_for_before(measured):
    pairs, _, moments, _, _ = measured
    parts = PartsOfPairs(moments)
    parts.of(pairs[1::3])
    again = parts.of(pairs[::-1])
    pd.testing.assert_frame_equal(again[::-1], PartsOfPairs(moments).of(pairs), check_exact=True)


def test_what_is_left_is_the_correlation_without_both_mean_maps(measured):
    pairs, maps, moments, sums, _ = measured
    left = correlation_left(ImageSums.of(sums).correlation()[0], PartsOfPairs(moments).of(pairs))
    for row, pair in enumerate(pairs.itertuples(index=False)):
        a, b = both_maps(pair, maps)
        expected = np.corrcoef((a - a.mean(0)).ravel(), (b - b.mean(0)).ravel())[0, 1]
        assert left[row] == pytest.approx(expected, abs=2e-6)


def test_sums_of_what_is_left_are_about_the_mean_maps(measured):
    pairs, maps, _, sums, _ = measured
    for row, pair in enumerate(pairs.itertuples(index=False)):
        a, b = (x - x.mean(0) for x in both_maps(pair, maps))
        for name, product in (("aa", a * a), ("bb", b * b), ("ab", a * b)):
            found = sums[f"left_{name}"][row]
            np.testing.assert_allclose(found, product.sum((1, 2)), rtol=1e-5, atol=1e-3)
        energy = (a * a).sum((1, 2))
        expected = energy.sum() ** 2 / (energy**2).sum()
        assert sums["effective_images_a"][row] == pytest.approx(expected, rel=1e-5)


def test_the_largest_hundredth_of_the_products_has_its_share(tmp_path):
    maps = [random_maps(seed, 40, (3, 9, 9)) for seed in (5, 6)]
    maps[1]["layer0"] = maps[1]["layer0"] + maps[0]["layer0"]
    maps[1]["layer0"][7, 0, 4, 4] += 60  # with its partner there: one position carries all
    maps[0]["layer0"][7, 0, 4, 4] += 60
    stores = [write_maps(tmp_path / f"{n}.zarr", m) for n, m in zip("ab", maps, strict=True)]
    pairs = pd.DataFrame({"layer_a": "layer0", "channel_a": range(3)})
    pairs = pairs.assign(layer_b="layer0", channel_b=range(3))
    images = xr.DataArray(np.zeros((40, 3, 9, 9), np.float32), dims=("image", "rgb", "y", "x"))
    moments = [open_tree(moments_of(path)) for path in stores]
    sums = sums_of([MapReader(path) for path in stores], moments, pairs, images)
    for channel in range(3):
        a, b = (m["layer0"][:, channel].astype(float) for m in maps)
        products = np.sort(((a - a.mean(0)) * (b - b.mean(0))).ravel())[::-1]
        count = len(products) / 100
        top = products[: int(count)].sum() + (count % 1) * products[int(count)]
        found = float(sums["top_positions"][channel])
        assert found == pytest.approx(top / products.sum(), rel=0.005)
        assert (found > 0.4) == (channel == 0)


def test_positions_of_a_high_norm_have_their_share_of_the_products(tmp_path):
    maps = [random_maps(seed, 40, (5, 6, 6)) for seed in (5, 6)]
    maps[1]["layer0"] = maps[1]["layer0"] + maps[0]["layer0"]
    maps[1]["layer0"][::4, :3, 2, 5] += 40  # such tokens; two of the five units do not take part
    maps[0]["layer0"][::4, :3, 2, 5] += 3
    stores = [write_maps(tmp_path / f"{n}.zarr", m) for n, m in zip("ab", maps, strict=True)]
    pairs = pd.DataFrame({"layer_a": "layer0", "channel_a": range(5)})
    pairs = pairs.assign(layer_b="layer0", channel_b=range(5))
    images = xr.DataArray(np.zeros((40, 3, 9, 9), np.float32), dims=("image", "rgb", "y", "x"))
    moments = [open_tree(moments_of(path)) for path in stores]
    sums = sums_of([MapReader(path) for path in stores], moments, pairs, images)
    a, b = (m["layer0"].astype(float) for m in maps)
    norms = [np.square(m).sum(1) for m in (a, b)]
    high = []
    for of in norms:
        first = of[:32]  # the block that is read first
        deviation = np.median(np.abs(first - np.median(first)))
        high.append(of > np.median(first) + 6 * deviation)
    assert float(sums["high_norm_b"][0]) == pytest.approx(high[1].mean())
    assert high[1][::4, 2, 5].all() and high[1].mean() < 0.02
    products = (a - a.mean(0)) * (b - b.mean(0))
    either = (high[0] | high[1])[:, None]
    expected = (products * either).sum((0, 2, 3)) / products.sum((0, 2, 3))
    np.testing.assert_allclose(sums["high_norm"], expected, rtol=1e-4)
    assert (expected[:3] > 0.15).all() and (expected[3:] < 0.1).all()


def test_moved_by_a_cell_are_the_correlations_over_the_cells_that_both_have(measured):
    pairs, maps, _, sums, _ = measured
    for row, pair in enumerate(pairs.itertuples(index=False)):
        chosen = [
            of[layer][:, c].astype(float)
            for of, (layer, c) in zip(maps, (pair[:2], pair[2:]), strict=True)
        ]
        meeting = meeting_size(*(x.shape[1:] for x in chosen))
        a, b = (
            upsampling(meeting[0], x.shape[1]).T
            @ (x - x.mean())
            @ upsampling(meeting[1], x.shape[2])
            for x in chosen
        )
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            cells = [
                (y, x)
                for y, x in np.ndindex(meeting)
                if 0 <= y + down < meeting[0] and 0 <= x + right < meeting[1]
            ]
            both = [[a[:, y, x], b[:, y + down, x + right]] for y, x in cells]
            expected = np.corrcoef(*np.array(both).transpose(1, 0, 2).reshape(2, -1))[0, 1]
            found = float(sums["moved"][row].sel(down=down, right=right))
            assert found == pytest.approx(expected, abs=2e-6), (pair, down, right)


def test_partial_correlations_are_those_of_the_residuals_of_a_regression(measured):
    pairs, maps, _, sums, images = measured
    for row, pair in list(enumerate(pairs.itertuples(index=False)))[::4]:
        a, b = both_maps(pair, maps)
        shown = resized(features(torch.from_numpy(images.values)), a.shape[1:]).double().numpy()
        x = shown.transpose(0, 2, 3, 1).reshape(-1, len(FEATURES))
        x = np.column_stack([x, np.ones(len(x))])
        rest, shares = [], []
        for values in (a.ravel(), b.ravel()):
            residual = values - x @ np.linalg.lstsq(x, values, rcond=None)[0]
            rest.append(residual)
            shares.append(1 - residual.var() / values.var())
        expected = np.corrcoef(*rest)[0, 1]
        assert sums["partial_low_level"][row] == pytest.approx(expected, abs=1e-4)
        assert sums["explained_a"][row] == pytest.approx(shares[0], abs=1e-4)
        np.testing.assert_allclose(
            sums["low_level_b"][row],
            [np.corrcoef(b.ravel(), f)[0, 1] for f in x.T[:-1]],
            atol=1e-5,
        )


def test_the_correlation_of_the_sums_is_that_of_the_table(measured):
    pairs, maps, _, sums, _ = measured
    table = brute_force(*maps)
    r = ImageSums.of(sums).correlation()[0]
    places = [
        {
            (n, c): i
            for i, (n, c) in enumerate((n, c) for n, m in of.items() for c in range(m.shape[1]))
        }
        for of in maps
    ]
    for row, pair in enumerate(pairs.itertuples(index=False)):
        expected = table[places[0][pair[:2]], places[1][pair[2:]]]
        assert r[row] == pytest.approx(expected, abs=1e-6)
