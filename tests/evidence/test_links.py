"""Links between units of two generators, through units of models that both match."""

import itertools

import numpy as np
import pandas as pd
import pytest

from rosetta_steps.evidence.links import (
    COMMON,
    ONLY_HERE,
    UNCERTAIN,
    Leg,
    linked,
    reached,
)
from rosetta_steps.matching.best_buddies import best_buddies
from rosetta_steps.matching.nearest import nearest
from rosetta_steps.matching.tables import LINKED_PAIRS, LINKED_UNITS, LINKS

K = 2
PAIR = ["layer_a", "channel_a", "layer_b", "channel_b"]


def units(name, count, layers):
    """Units of some layers, which are named in an order that is not the alphabet's."""
    size = -(-count // layers)
    return pd.MultiIndex.from_tuples(
        [(f"{name}.{layers - n // size}", n % size) for n in range(count)],
        names=["layer", "channel"],
    )


def leg(correlation, generator, layers=(2, 3)):
    """What a generator has in a model, given all correlations."""
    own = units(generator, len(correlation), layers[0])
    other = units("blocks", correlation.shape[1], layers[1])
    pairs = best_buddies(nearest(correlation, K), nearest(correlation.T, K))
    table = pd.DataFrame(
        {
            "layer_a": own.get_level_values(0)[pairs["unit_a"]],
            "channel_a": own.get_level_values(1)[pairs["unit_a"]],
            "layer_b": other.get_level_values(0)[pairs["unit_b"]],
            "channel_b": other.get_level_values(1)[pairs["unit_b"]],
            "correlation": pairs["correlation"],
            "q": 0.01,
        }
    )
    return Leg(own=own, units=other, correlation=correlation, buddies=table)


def random_legs(seed, models=("one", "two", "three"), rows=(8, 10), columns=12):
    random = np.random.default_rng(seed)
    return {
        model: tuple(
            leg(random.uniform(-1, 1, (count, columns)).astype(np.float32), name)
            for count, name in zip(rows, ("main", "synthesis"), strict=True)
        )
        for model in models
    }


def dictionary(own, rows):
    """A dictionary in which each of some units of a generator is a concept."""
    chosen = own[list(rows)]
    return pd.DataFrame(
        {
            "generator_layer": chosen.get_level_values(0),
            "generator_channel": chosen.get_level_values(1),
            "concept_id": [f"{layer}:{channel}" for layer, channel in chosen],
        }
    )


def all_of(legs):
    first, second = next(iter(legs.values()))
    return [dictionary(one.own, range(len(one.own))) for one in (first, second)]


def brute_force(first, second):
    """Link of each pair of units through a model: strength and the unit it goes through."""
    found = {}
    for a, b in itertools.product(first.buddies.itertuples(), second.buddies.itertuples()):
        if (a.layer_b, a.channel_b) == (b.layer_b, b.channel_b):
            pair = (a.layer_a, a.channel_a, b.layer_a, b.channel_a)
            way = (min(a.correlation, b.correlation), a.layer_b, a.channel_b)
            found[pair] = max(found.get(pair, (-2,)), way)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_two_units_are_linked_where_both_have_the_same_best_buddy(seed):
    legs = random_legs(seed)
    result = linked(legs, all_of(legs), level=0.05)
    for model, both in legs.items():
        expected = brute_force(*both)
        rows = result.links[result.links["model"] == model].set_index(PAIR)
        assert set(rows.index) == set(expected)
        for pair, (strength, layer, channel) in expected.items():
            row = rows.loc[pair]
            assert (row["layer"], row["channel"]) == (layer, channel)
            assert row["strength"] == pytest.approx(strength)
            assert row["strength"] == min(row["correlation_a"], row["correlation_b"])
    through = result.links.groupby(PAIR)["strength"].agg(["size", "mean"])
    pairs = result.pairs.set_index(PAIR)
    pd.testing.assert_series_equal(
        pairs["models"].sort_index(), through["size"], check_names=False, check_dtype=False
    )
    np.testing.assert_allclose(pairs["strength"].sort_index(), through["mean"], rtol=1e-6)
    assert list(result.links) == list(LINKS)
    assert list(result.pairs) == list(LINKED_PAIRS)
    assert list(result.units) == list(LINKED_UNITS)


def test_a_rank_counts_the_units_that_could_be_reached_more_strongly():
    legs = random_legs(5)
    result = linked(legs, all_of(legs), level=0.05)
    reciprocal = {}
    for (first, second), model in zip(legs.values(), legs, strict=True):
        strongest = np.minimum(first.correlation[:, None], second.correlation[None]).max(-1)
        np.testing.assert_array_equal(reached(first, second), strongest)
        rows = result.links[result.links["model"] == model].set_index(PAIR)
        for pair in result.pairs[PAIR].itertuples(index=False, name=None):
            a, b = first.own.get_loc(pair[:2]), second.own.get_loc(pair[2:])
            rank_b = 1 + (strongest[a] > strongest[a, b]).sum()
            rank_a = 1 + (strongest[:, b] > strongest[a, b]).sum()
            reciprocal.setdefault(pair, []).append((1 / rank_a + 1 / rank_b) / 2)
            if pair in rows.index:
                assert tuple(rows.loc[pair, ["rank_a", "rank_b"]]) == (rank_a, rank_b)
    means = result.pairs.set_index(PAIR)["mean_reciprocal_rank"]
    for pair, of_models in reciprocal.items():
        assert means[pair] == pytest.approx(np.mean(of_models))


def expected_by_chance(linking, units, side):
    """Pairs that two models link on average, if each permutes the units of a layer it links."""
    expected = 0.0
    for other in {pair[1 - side] for links in linking for pair in links}:
        for layer in dict.fromkeys(units.get_level_values(0)):
            sets = [{p[side] for p in links if p[side][0] == layer} for links in linking]
            counts = [
                sum(p[1 - side] == other and p[side][0] == layer for p in links)
                for links in linking
            ]
            if all(sets):
                shares = [count / len(own) for count, own in zip(counts, sets, strict=True)]
                expected += len(sets[0] & sets[1]) * np.prod(shares)
    return expected


def test_by_chance_is_what_permuted_units_of_each_layer_give_on_average():
    legs = random_legs(2, models=("one", "two"), rows=(40, 40), columns=60)
    result = linked(legs, all_of(legs), level=0.05)
    linking = [{(pair[:2], pair[2:]) for pair in brute_force(*both)} for both in legs.values()]
    first, second = next(iter(legs.values()))
    expected = max(
        expected_by_chance(linking, one.own, side) for side, one in enumerate((first, second))
    )
    found = result.counts.loc[2, "by_chance"]
    assert found == pytest.approx(expected, abs=5 * np.sqrt(expected / 200))
    both = len(set.intersection(*linking))
    assert result.counts.loc[2, "pairs"] == both
    pairs = result.pairs
    assert both > 0 and result.counts.loc[1, "q"] > 0.8
    q = min(result.counts.loc[1, "q"], (found + 1 / 200) / both)
    assert (pairs[pairs["models"] == 2]["q"] == q).all()


def test_that_models_match_the_same_few_units_is_no_agreement_on_which_goes_with_which():
    """Two models link the same six units of sixty, each with a partner drawn by itself."""
    random = np.random.default_rng(0)
    legs = {}
    for model in ("one", "two"):
        columns = [random.permutation(90)[:6] for _ in range(2)]
        columns[1] = random.permutation(columns[0])  # the same units of the model, paired anew
        sides = []
        for own, name in zip(columns, ("main", "synthesis"), strict=True):
            table = random.normal(0, 0.01, (60, 90)).astype(np.float32)
            table[np.arange(6), own] = 0.9
            one = leg(table, name)
            strong = one.buddies[one.buddies["correlation"] > 0.5]
            sides.append(Leg(own=one.own, units=one.units, correlation=table, buddies=strong))
        legs[model] = tuple(sides)
    result = linked(legs, all_of(legs), level=0.05)
    assert result.counts.loc[1, "pairs"] in range(6, 13)
    assert result.counts.loc[2, "by_chance"] == pytest.approx(1, abs=0.3)
    assert not (result.units["status"] == COMMON).any()


def test_a_unit_that_never_varies_is_reached_by_none():
    (first, second) = random_legs(2)["one"]
    silent = first.correlation.copy()
    silent[3] = np.nan
    found = reached(leg(silent, "main"), second)
    assert np.isnan(found[3]).all() and not np.isnan(np.delete(found, 3, 0)).any()


def planted(seed, common, alone, models=3, columns=90):
    """Generators that share some units in all models, and each have units of their own.

    A shared unit has the same unit of each model as a partner, others another one each.
    """
    random = np.random.default_rng(seed)
    count = common + alone
    legs = {}
    for number in range(models):
        partners = [random.permutation(columns)[:count] for _ in range(2)]
        shared = random.permutation(columns)
        sides = []
        for own, name in zip(partners, ("main", "synthesis"), strict=True):
            free = [one for one in own if one not in set(shared[:common])][:alone]
            own = np.concatenate([shared[:common], free])
            table = random.normal(0, 0.05, (count, columns)).astype(np.float32)
            table[np.arange(len(own)), own] = random.uniform(0.4, 0.8, len(own))
            sides.append(leg(table, name))
        legs[f"model-{number}"] = tuple(sides)
    return legs


def test_units_that_several_models_link_are_common_and_units_of_one_generator_only_here():
    legs = planted(0, common=20, alone=10)
    result = linked(legs, all_of(legs), level=0.05)
    for side, name in zip("ab", ("first", "second"), strict=True):
        own = result.units[result.units["side"] == side].reset_index(drop=True)
        assert (own["status"][:20] == COMMON).all(), name
        assert not (own["status"][20:] == COMMON).any(), name
    best = result.pairs.drop_duplicates(["layer_a", "channel_a"])[:20]
    first, second = next(iter(legs.values()))
    a = first.own.get_indexer(pd.MultiIndex.from_frame(best[["layer_a", "channel_a"]]))
    b = second.own.get_indexer(pd.MultiIndex.from_frame(best[["layer_b", "channel_b"]]))
    np.testing.assert_array_equal(a, b)
    assert (best["models"] == 3).all() and (best["mean_reciprocal_rank"] == 1).all()
    assert result.counts.loc[3, "pairs"] == 20
    assert result.counts.loc[3, "by_chance"] < 1


def test_where_models_agree_by_chance_alone_pairs_are_seldom_called_common():
    """Of ten dictionaries without a common unit, at most about one in twenty has certain pairs."""
    certain = 0
    for seed in range(10):
        legs = random_legs(seed, rows=(60, 50), columns=120)
        result = linked(legs, all_of(legs), level=0.05)
        expected = result.counts["by_chance"]
        assert (abs(result.counts["pairs"] - expected) < 5 * np.sqrt(expected + 1)).all()
        certain += (result.units["status"] == COMMON).any()
        assert UNCERTAIN in set(result.units["status"])
    assert certain <= 2


def test_one_model_agrees_with_nobody_so_that_nothing_is_certain():
    legs = {"one": planted(0, common=20, alone=10)["model-0"]}
    result = linked(legs, all_of(legs), level=0.05)
    assert (result.pairs["q"] == 1).all()
    assert not (result.units["status"] == COMMON).any()


def test_where_correlations_were_not_kept_there_are_links_without_ranks():
    legs = random_legs(1)
    full = linked(legs, all_of(legs), level=0.05)
    bare = {
        model: tuple(
            Leg(own=one.own, units=one.units, correlation=None, buddies=one.buddies) for one in both
        )
        for model, both in legs.items()
    }
    result = linked(bare, all_of(legs), level=0.05)
    pd.testing.assert_frame_equal(
        result.pairs.drop(columns="mean_reciprocal_rank"),
        full.pairs.drop(columns="mean_reciprocal_rank"),
    )
    assert result.links[["rank_a", "rank_b"]].isna().all(axis=None)
    assert result.units["nearest"].isna().all()


def test_no_links_at_all_are_tables_without_rows():
    legs = random_legs(1)
    none = {
        model: tuple(
            Leg(own=one.own, units=one.units, correlation=one.correlation, buddies=one.buddies[:0])
            for one in both
        )
        for model, both in legs.items()
    }
    result = linked(none, all_of(legs), level=0.05)
    assert len(result.links) == len(result.pairs) == 0
    assert (result.units["status"] == ONLY_HERE).all()
    assert not result.counts[["pairs", "by_chance"]].to_numpy().any()


def test_units_of_one_concept_count_once():
    """Two units of each generator have the same partners: four pairs of units, one of concepts."""
    table = np.zeros((4, 9), np.float32)
    table[:2, 0], table[:2, 1] = 0.8, 0.7  # both of the first two with both partners
    table[2, 5], table[3, 6] = 0.5, 0.5
    table += np.random.default_rng(0).normal(0, 0.001, table.shape).astype(np.float32)
    one, other = leg(table, "main", (1, 1)), leg(table, "synthesis", (1, 1))
    strong = [
        Leg(
            own=s.own,
            units=s.units,
            correlation=table,
            buddies=s.buddies[s.buddies["correlation"] > 0.3],
        )
        for s in (one, other)
    ]
    concepts = [dictionary(side.own, [0, 1, 2, 3]) for side in strong]
    for own in concepts:
        own.loc[1, "concept_id"] = own.loc[0, "concept_id"]
    result = linked({"m": tuple(strong), "n": tuple(strong)}, concepts, level=0.05)
    assert (result.pairs["models"] == 2).all() and len(result.pairs) == 6
    assert result.counts["pairs"].tolist() == [3, 3]


def test_models_that_link_units_of_the_same_concepts_agree_on_the_concepts():
    legs = random_legs(3)
    first, second = next(iter(legs.values()))
    concepts = all_of(legs)
    concepts[0]["concept_id"] = [f"main.1:{n // 4}" for n in range(len(first.own))]
    result = linked(legs, concepts, level=0.05)
    of = concepts[0].set_index(["generator_layer", "generator_channel"])["concept_id"]
    links = result.links.assign(
        concept=[
            of[pair]
            for pair in zip(result.links["layer_a"], result.links["channel_a"], strict=True)
        ]
    )
    counts = links.groupby(["concept", "layer_b", "channel_b"])["model"].nunique()
    for row in result.pairs.itertuples():
        assert row.concept_models == counts[row.concept_id_a, row.layer_b, row.channel_b]
        assert row.concept_models >= row.models
    assert result.counts["pairs"].tolist() == [int((counts >= k).sum()) for k in (1, 2, 3)]


def test_a_unit_is_named_by_the_concept_it_belongs_to():
    legs = random_legs(3)
    first, second = next(iter(legs.values()))
    of_a = dictionary(first.own, [0, 1])
    of_a["concept_id"] = "main.2:0"  # both belong to one concept
    result = linked(legs, [of_a, dictionary(second.own, [])], level=0.05)
    named = result.pairs[result.pairs["concept_id_a"] == "main.2:0"]
    assert set(zip(named["layer_a"], named["channel_a"], strict=True)) <= set(first.own[:2])
    assert (result.pairs["concept_id_b"] == "").all()
    assert len(result.units) == 2


def test_other_layers_of_a_model_are_refused_by_its_name():
    legs = random_legs(1)
    first, second = legs["two"]
    other = leg(second.correlation, "synthesis", layers=(2, 4))
    with pytest.raises(ValueError, match="other layers of two: give both the same `layers`"):
        linked(legs | {"two": (first, other)}, all_of(legs), level=0.05)


def test_no_model_of_both_is_refused():
    with pytest.raises(ValueError, match="no model was mined with both generators"):
        linked({}, [pd.DataFrame(), pd.DataFrame()], level=0.05)
