"""A network beside its untrained copies: excess of pairs, counts, strength at equal rank."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from rosetta_steps.evidence.untrained import (
    excess,
    figures,
    open_untrained,
    table_of,
    write_comparison,
)
from rosetta_steps.matching.best_buddies import nearest_both_ways
from rosetta_steps.matching.tables import UNTRAINED, read_untrained
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.testing import made

UNITS = (60, 80)


def correlations(units_a=60, units_b=80):
    table = np.random.default_rng(0).uniform(-1, 1, (units_a, units_b)).astype(np.float32)
    table[3], table[:, 5] = np.nan, np.nan
    return table


def stored(values, model="net", generator="gan", nearest=0, **attrs):
    """Correlations as the step writes them: the table, or of each unit the nearest."""
    units = {
        f"{what}_{side}": (f"unit_{side}", values_of(count))
        for side, count in zip("ab", values.shape, strict=True)
        for what, values_of in (("layer", lambda n: ["l"] * n), ("channel", np.arange))
    }
    attrs = {"model_a": generator, "model_b": model, **attrs}
    whole = xr.Dataset({"correlation": (("unit_a", "unit_b"), values)}, units, attrs)
    if not nearest:
        return whole
    kept = {}
    for side, near in zip("ab", nearest_both_ways(whole, nearest), strict=True):
        dimensions = (f"unit_{side}", "neighbour")
        kept[f"partner_{side}"] = dimensions, near.partner
        kept[f"correlation_{side}"] = dimensions, near.correlation
    return xr.Dataset(kept, units, attrs)


def figures_of(table):
    found = figures(stored(table), (1, 5))
    assert repr(figures(stored(table, nearest=5), (1, 5))) == repr(found)
    return found


def brute_force_pairs(table, neighbours):
    """Eq. 3 word by word: b is among a's K nearest, and a among b's."""
    pairs = {}
    for a, b in itertools.product(*map(range, table.shape)):
        nearer_to_a = (table[a] > table[a, b]).sum()
        nearer_to_b = (table[:, b] > table[a, b]).sum()
        if table[a, b] == table[a, b] and max(nearer_to_a, nearer_to_b) < neighbours:
            pairs[a, b] = float(table[a, b])
    return pairs


@pytest.mark.parametrize("neighbours", [1, 5])
def test_pairs_and_buddies_are_those_counted_by_hand(neighbours):
    table = correlations() - np.float32(0.4)  # some above 0.5, some not
    found, pairs = figures_of(table), brute_force_pairs(table, neighbours)
    kind = f"K = {neighbours}:"
    assert found[f"{kind} pairs"] == len(pairs)
    assert found[f"{kind} generator units with a buddy"] == len({a for a, _ in pairs})
    for threshold in (0.3, 0.5):
        above = {a for (a, _), r in pairs.items() if r > threshold}
        strong = sum(r > threshold for r in pairs.values())
        assert found[f"{kind} pairs above r = {threshold}"] == strong
        assert found[f"{kind} of them above r = {threshold}"] == len(above)
    assert found[f"{kind} strongest r"] == pytest.approx(max(pairs.values()))
    assert found[f"{kind} median r"] == pytest.approx(np.median(list(pairs.values())))


def test_strength_at_equal_rank_is_that_of_the_sorted_pairs_and_nan_beyond_the_last():
    table = correlations()
    ranked = sorted(brute_force_pairs(table, 1).values(), reverse=True)
    assert 10 < len(ranked) < 50
    found = figures_of(table)
    for rank in (1, 5, 10):
        assert found[f"K = 1: r at rank {rank}"] == pytest.approx(ranked[rank - 1])
    assert np.isnan(found["K = 1: r at rank 100"])
    assert np.isnan(found["K = 1: mean r of the strongest 50 pairs"])


def test_the_strongest_fifty_pairs_are_averaged_where_there_are_more():
    table = correlations(70, 70) * np.float32(0.1)
    table[np.arange(60), 69 - np.arange(60)] = np.linspace(0.2, 0.9, 60)
    found = figures_of(table)
    strongest = np.sort(list(brute_force_pairs(table, 1).values()))[::-1][:50]
    assert found["K = 1: mean r of the strongest 50 pairs"] == pytest.approx(strongest.mean())


def test_units_that_never_vary_are_counted_and_no_part_of_the_mean():
    table = correlations()
    found = figures_of(table)
    assert (found["units"], found["units that never vary"]) == (80, 1)
    best = [np.nanmax(row) for unit, row in enumerate(table.astype(float)) if unit != 3]
    assert found["mean over generator units of the best r"] == pytest.approx(np.mean(best))


def test_the_excess_of_a_pair_is_over_the_best_partner_in_any_copy():
    random = np.random.default_rng(1)
    tables = [random.uniform(-1, 1, UNITS).astype(np.float32) for _ in range(3)]
    tables[1][4], tables[2][4], tables[1][7] = np.nan, np.nan, np.nan
    copies = [stored(t, f"net.untrained-{n}", nearest=n * 2) for n, t in enumerate(tables[1:])]
    pairs = pd.DataFrame({"layer_a": "l", "channel_a": [7, 4, 9, 7]})
    pairs["correlation"] = [0.5, 0.4, 0.3, 0.2]
    found = excess(stored(tables[0]), pairs, copies)
    for place, (unit, r) in enumerate(zip(pairs["channel_a"], pairs["correlation"], strict=True)):
        values = [
            t[unit, b] for t in tables[1:] for b in range(UNITS[1]) if t[unit, b] == t[unit, b]
        ]
        expected = r - float(max(values)) if values else np.nan
        np.testing.assert_allclose(found[place], expected, atol=1e-6)
    assert np.isnan(found[1]) and not np.isnan(found[0])


def test_the_share_is_one_more_than_the_mean_of_the_copies_over_the_trained_and_at_most_one():
    trained = {"units": 9, "K = 1: pairs": 8, "K = 1: strongest r": 0.5, "K = 5: pairs": 0}
    copies = {"a": trained | {"K = 1: pairs": 2}, "b": trained | {"K = 1: pairs": 4}}
    share = table_of(trained, copies).set_index("figure")["share"]
    assert share["K = 1: pairs"] == (1 + 3) / 8
    assert share.drop("K = 1: pairs").isna().all()
    more = table_of({"K = 1: pairs": 2}, {"a": {"K = 1: pairs": 9}})
    assert more["share"].tolist() == [1]


@pytest.fixture
def written(tmp_path):
    """Function that writes correlations with a model and returns their store."""

    def write(file, values=None, sample_set="faces", **given):
        values = correlations() if values is None else values
        found = stored(values, **given)
        models = [found.attrs["model_a"], found.attrs["model_b"]]
        provenance = replace(made("correlations", *models), sample_set=sample_set)
        write_dataset(found, tmp_path / f"{file}.zarr", provenance)
        return tmp_path / f"{file}.zarr"

    return write


def test_the_comparison_of_a_model_is_a_table_that_is_read_back(written, tmp_path):
    trained = written("trained")
    copies = [written(n, correlations() / 2, model=f"net.untrained-{n}") for n in range(2)]
    write_comparison(trained, copies, tmp_path / "x.csv", neighbours=3)
    table = read_untrained(tmp_path / "x.csv", ["gan", "net"]).set_index("figure")
    assert ["figure", *table.columns] == list(UNTRAINED)
    first = table.loc["K = 1: r at rank 1"]
    assert first["untrained_highest"] == pytest.approx(first["trained"] / 2)
    assert table.loc["K = 3: pairs", "share"] == 1  # as many pairs, half as strong
    assert table.loc["K = 1: pairs above r = 0.5", "share"] < 0.5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "net"}, "is of net itself, which is trained"),
        ({"model": "other.untrained-0"}, "is of other.untrained-0, which is no copy of net"),
        ({"generator": "dog"}, "is of dog, and the pairs are of gan"),
        ({"sample_set": "cats"}, "is of the images of cats, and the pairs of faces"),
        ({"values": correlations(60, 70)}, "has other units of net than"),
        ({"values": correlations(50, 80)}, "has other units of gan than"),
        ({"similarity": "pearson_without_mean_maps"}, "holds Pearson correlation about mean maps"),
    ],
)
def test_a_store_that_is_of_no_copy_of_the_model_is_refused_by_name(given, said, written):
    given = {"model": "net.untrained-0"} | given
    with pytest.raises(StoreError, match=said) as error:
        open_untrained(written("trained"), [written("control", **given)])
    assert "control.zarr" in str(error.value)


def test_one_copy_is_given_once(written):
    copies = [written(file, model="net.untrained-0") for file in ("one", "two")]
    with pytest.raises(StoreError, match="are of one copy, net.untrained-0"):
        open_untrained(written("trained"), copies)
