"""Whether the models of a concept fire on the same images, against counting by hand."""

import doctest
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from rosetta_steps import firing as step
from rosetta_steps.evidence import firing as firing_module
from rosetta_steps.evidence.firing import Responses, co_firing, fires, firing, firing_entropy
from rosetta_steps.matching.concepts import COLUMNS
from rosetta_steps.matching.identity import concept_ids
from rosetta_steps.matching.tables import FIRING, read_firing, write_table
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import ingredients
from rosetta_steps.testing import made

IMAGES = 60
MODELS = ("one", "two", "three")


def highest(values, count):
    """Images of the highest values of a unit, by sorting them."""
    return set(sorted(range(len(values)), key=lambda image: -values[image])[:count])


def test_a_unit_fires_on_the_images_on_which_it_is_highest():
    values = np.random.default_rng(0).normal(size=(4, IMAGES))
    for unit, fired in zip(values, fires(values), strict=True):
        assert set(np.flatnonzero(fired)) == highest(unit, 3)  # 5 % of 60
    assert fires(values[:, :7]).sum(1).tolist() == [1] * 4  # never less than one image
    assert not fires(values[:, :1]).any()


def test_tied_images_do_not_fire_where_there_are_too_many_of_them():
    saturated = np.array([6.0] * 10 + [1.0] * 50)
    two_above = np.array([9.0, 8.0] + [6.0] * 10 + [1.0] * 48)
    assert not fires(saturated).any() and not fires(np.zeros(IMAGES)).any()
    assert np.flatnonzero(fires(two_above)).tolist() == [0, 1]


@pytest.mark.parametrize("models", [1, 2, 4])
def test_shares_and_chances_are_those_of_counting_every_image_and_every_pattern(models):
    random = np.random.default_rng(models)
    rates = np.linspace(0.1, 0.4, models)
    fired = random.random((models, 50)) < rates[:, None]
    exact = fired.mean(1)
    for row in co_firing(fired).itertuples():
        together = [sum(column) for column in fired.T.tolist()]
        assert row.images == sum(count >= row.at_least for count in together)
        assert row.share == row.images / sum(count >= 1 for count in together)

        def likely(least):
            patterns = itertools.product([0, 1], repeat=models)
            return sum(
                math.prod(p if on else 1 - p for p, on in zip(exact, pattern, strict=True))
                for pattern in patterns
                if sum(pattern) >= least
            )

        assert row.by_chance == pytest.approx(likely(row.at_least) / likely(1), rel=1e-12)


def test_where_nothing_fires_there_is_no_share():
    table = co_firing(np.zeros((2, 9), bool))
    assert table["images"].tolist() == [0, 0]
    assert table["share"].isna().all() and table["by_chance"].isna().all()


def test_the_entropy_is_that_of_the_shares_of_fires_over_its_maximum():
    counts = np.array([3, 1, 4])
    expected = -sum(c / 8 * math.log(c / 8) for c in (3, 1, 4)) / math.log(3)
    assert firing_entropy(counts) == pytest.approx(expected, rel=1e-12)
    assert math.isnan(firing_entropy(np.array([0, 0]))) and math.isnan(
        firing_entropy(np.array([5]))
    )
    assert doctest.testmod(firing_module).failed == 0


def test_a_model_s_fires_count_where_the_generator_s_unit_fires_too():
    # All models fire on three images; those of the second are not the generator's.
    generator, same = np.zeros((2, IMAGES)), np.arange(IMAGES, dtype=float)
    generator[:] = same
    table = firing([Responses("g:0", 1, generator, np.stack([same, -same]))])
    assert table["entropy"].tolist() == [0, 0] and table["images"].tolist() == [6, 0]
    table = firing([Responses("g:0", 1, generator, np.stack([same, same]))])
    assert table["entropy"].tolist() == [1, 1] and table["share"].tolist() == [1, 1]


def test_a_dictionary_without_concepts_has_an_empty_table():
    assert list(firing([]).columns) == list(FIRING) and firing([]).empty


@pytest.fixture
def results(tmp_path):
    """A dictionary of two concepts, and sums over images of their pairs: paths and the maps."""
    random = np.random.default_rng(3)
    rows, sums, maps = [], [], {}
    for place, model in enumerate(MODELS):
        # The first concept's unit of the generator has two best buddies: the last one is shown.
        pairs = [("main.2", 4, "act", 9), ("main.5", 1, "act", place), ("main.5", 1, "end", 7)]
        strengths = (0.5, 0.6, 0.7)
        for pair, r in zip(pairs, strengths, strict=True):
            number = 2 if pair[0] == "main.2" else 1
            rows.append((number, "gan", *pair[:2], model, *pair[2:], r))
        maps[model] = random.gamma(1.0, 1.0, (2, len(pairs), IMAGES, 4, 4))  # of both sides
        columns = dict(zip(("layer_a", "channel_a", "layer_b", "channel_b"),
                           zip(*pairs, strict=True), strict=True))  # fmt: skip
        total = maps[model].sum((-1, -2)).astype(np.float32)
        total -= total.mean(-1, keepdims=True)
        store = xr.Dataset(
            {f"sum_{side}": (("pair", "image"), total[n]) for n, side in enumerate("ab")},
            {name: ("pair", list(values)) for name, values in columns.items()},
            attrs={"model_a": "gan", "model_b": model},
        )
        path = tmp_path / f"gan--{model}.zarr"
        write_dataset(store, path, made("image sums", "gan", model, of={}))
        sums.append(path)
    table = pd.DataFrame(rows, columns=COLUMNS[:-1]).sort_values("concept", kind="stable")
    table = table.reset_index(drop=True).assign(concept_id=concept_ids)
    write_table(
        table, tmp_path / "rosetta.csv", made("dictionary", "gan", *MODELS, of=ingredients(sums))
    )
    return tmp_path / "rosetta.csv", sums, maps


def run(monkeypatch, table, sums, output):
    command = ["firing", "--table", table, "--sums", *sums, "--output", output]
    monkeypatch.setattr("sys.argv", [str(one) for one in command])
    step.main()


def test_the_step_counts_the_strongest_pair_of_each_model(results, monkeypatch, tmp_path):
    """From the maps themselves: their means over positions, sorted, and counted by loops."""
    table, sums, maps = results
    run(monkeypatch, table, sums, tmp_path / "firing.csv")
    found = read_firing(tmp_path / "firing.csv")
    assert found["concept"].tolist() == [1, 1, 1, 2, 2, 2]
    assert found["concept_id"].tolist() == ["main.5:1"] * 3 + ["main.2:4"] * 3
    for number, pair in ((1, 2), (2, 0)):
        of_models, counts = [], []
        for model in MODELS:
            means = maps[model][:, pair].mean((-1, -2))
            generator, unit = (highest(side, 3) for side in means)
            of_models.append(unit)
            counts.append(len(generator & unit))
        rows = found[found["concept"] == number]
        for row in rows.itertuples():
            together = [sum(image in unit for unit in of_models) for image in range(IMAGES)]
            assert row.images == sum(count >= row.at_least for count in together)
        np.testing.assert_allclose(rows["entropy"], firing_entropy(np.array(counts)))


def test_sums_of_a_model_that_are_not_given_or_are_of_other_pairs_are_refused(
    results, monkeypatch, tmp_path
):
    table, sums, _ = results
    with pytest.raises(ValueError, match=r"is of three too, but --sums has only one, two"):
        run(monkeypatch, table, sums[:2], tmp_path / "firing.csv")
    store = xr.open_zarr(sums[1]).load().isel(pair=[0])
    write_dataset(store, sums[1], made("image sums", "gan", "two", of={}))
    with pytest.raises(ValueError, match=r"main.5:1 has the pair main.5:1 and two end:7, of which"):
        run(monkeypatch, table, sums, tmp_path / "firing.csv")
