"""The nearest partner of every unit, what of each layer is shared, and questions across models."""

import doctest

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from rosetta_steps import shared
from rosetta_steps.display.coverage import coverage_figure
from rosetta_steps.evidence import coverage as coverage_module
from rosetta_steps.evidence.coverage import coverage
from rosetta_steps.evidence.partners import only_in, partners_of, shared_by, usable_decoys
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import (
    COVERAGE,
    EVIDENCE,
    PARTNERS,
    read_coverage,
    read_partners,
    write_table,
)
from rosetta_steps.testing import made

K = 2


def store(seed, model, units=(7, 9), decoys=2):
    """Correlations of a generator of two layers with a model of two; one unit of b is silent."""
    random = np.random.default_rng(seed)
    table = random.uniform(-1, 1, (1 + decoys, *units)).astype(np.float32)
    table[:, :, 4] = np.nan
    layers = [np.array([f"{name}.{2 * n // count}" for n in range(count)]) for name, count in
              zip(("main", "blocks"), units, strict=True)]  # fmt: skip
    channels = [np.arange(count) for count in units]
    return xr.Dataset(
        {
            "correlation": (("unit_a", "unit_b"), table[0]),
            "decoy_correlation": (("decoy", "unit_a", "unit_b"), table[1:]),
        },
        {
            f"{what}_{side}": (f"unit_{side}", values)
            for side, *both in zip("ab", layers, channels, strict=True)
            for what, values in zip(("layer", "channel"), both, strict=True)
        },
        attrs={"model_a": "gan", "model_b": model, "images": 8},
    )


def evidence_of(correlations):
    """Evidence of its best buddies, of which every other one fails a test."""
    pairs = table_of(correlations, K)
    verdicts = ["6 of 6" if n % 2 else "5 of 6: low level" for n in range(len(pairs))]
    return pairs.reindex(columns=list(EVIDENCE)).assign(verdict=verdicts)


def partners(seed, model, **options):
    correlations = store(seed, model, **options)
    return partners_of(correlations, evidence_of(correlations), K)


def mutual(r):
    """Which units of both sides are in best buddies, by sorting every row and column."""
    worst = np.where(np.isnan(r), -np.inf, r)
    near_a = np.argsort(-worst, 1)[:, :K]
    near_b = np.argsort(-worst, 0)[:K].T
    pairs = [
        (a, b)
        for a in range(r.shape[0])
        for b in range(r.shape[1])
        if b in near_a[a] and a in near_b[b] and not np.isnan(r[a, b])
    ]
    return {a for a, _ in pairs}, {b for _, b in pairs}


@pytest.mark.parametrize("seed", range(4))
def test_partners_are_those_of_a_sorted_table_and_decoys_are_mined_alike(seed):
    correlations = store(seed, "one")
    table = partners_of(correlations, evidence_of(correlations), K)
    assert list(table) == list(PARTNERS)
    r = correlations["correlation"].values
    sides = table[table["model"] == "gan"], table[table["model"] == "one"]
    has = mutual(r)
    decoys = [mutual(decoy) for decoy in correlations["decoy_correlation"].values]
    for side, (rows, values) in enumerate(zip(sides, (r, r.T), strict=True)):
        silent = np.isnan(values).all(1)
        best = np.where(silent, 0, np.nanargmax(np.where(silent[:, None], 0, values), 1))
        np.testing.assert_array_equal(rows["correlation"].isna(), silent)
        own = rows[~silent]["partner_channel"].to_numpy()
        np.testing.assert_array_equal(own, best[~silent])
        assert rows[silent]["partner_channel"].isna().all()
        assert set(np.flatnonzero(rows["best_buddy"] == "yes")) == has[side]
        assert set(np.flatnonzero(rows["passes"] == "yes")) <= has[side]
        counts = [sum(unit in decoy[side] for decoy in decoys) for unit in range(len(rows))]
        assert list(rows["decoy_buddies"]) == counts
    assert (table["decoys"] == 2).all()


def test_decoys_that_could_not_move_most_images_say_nothing_of_chance():
    correlations = store(0, "one").assign_attrs(decoy_images_that_stay=5)
    assert usable_decoys(correlations) == []
    table = partners_of(correlations, evidence_of(correlations), K)
    assert (table["decoys"] == 0).all()
    assert coverage({"one": table}, "gan")["by_chance"].isna().all()


def test_the_coverage_of_a_layer_counts_units_with_buddies_in_so_many_models():
    tables = {model: partners(seed, model) for seed, model in enumerate(("one", "two", "three"))}
    found = coverage(tables, "gan")
    assert list(found) == list(COVERAGE)
    for least in (1, 2, 3):
        for layer in ("main.0", "main.1"):
            row = found[(found["layer"] == layer) & (found["at_least"] == least)].iloc[0]
            own = [t[(t["model"] == "gan") & (t["layer"] == layer)] for t in tables.values()]
            has = sum((t["best_buddy"] == "yes").to_numpy().astype(int) for t in own)
            assert (row["units"], row["shared"]) == (len(has), (has >= least).sum())
            # Every combination of models, with the probability that exactly these match by chance.
            chance = np.array([(t["decoy_buddies"] / t["decoys"]).to_numpy() for t in own])
            likely = 0.0
            for bits in np.ndindex(2, 2, 2):
                if sum(bits) >= least:
                    factors = [c if bit else 1 - c for bit, c in zip(bits, chance, strict=True)]
                    likely += np.prod(factors, axis=0)
            np.testing.assert_allclose(row["by_chance"], np.sum(likely))
    of_model = found[found["model"] == "two"]
    assert list(of_model["layer"]) == ["blocks.0", "blocks.1"]
    assert list(of_model["depth"]) == [0, 1] and of_model["silent"].sum() == 1
    assert (of_model["passing"] <= of_model["shared"]).all()
    assert doctest.testmod(coverage_module).failed == 0


def test_units_shared_by_some_and_not_by_others_are_ordered_by_the_least_less_the_greatest():
    tables = {model: partners(seed, model) for seed, model in enumerate(("one", "two", "three"))}
    found = shared_by(tables, "gan", ["one", "two"], ["three"])
    r = {m: t[t["model"] == "gan"].set_index("channel") for m, t in tables.items()}
    for row in found.itertuples():
        own = [r[m].loc[row.channel, "correlation"] for m in ("one", "two")]
        assert row.least == min(own)
        assert row.greatest == r["three"].loc[row.channel, "correlation"]
        np.testing.assert_allclose(row.delta, row.least - row.greatest)
        has = [r[m].loc[row.channel, "best_buddy"] == "yes" for m in ("one", "two")]
        assert row.buddies_by == sum(has)
    assert found["delta"].is_monotonic_decreasing and len(found) == 7
    alone = shared_by(tables, "gan", ["one"], [])
    assert alone["greatest"].isna().all() and (alone["delta"] == alone["least"]).all()
    twice = shared_by(tables, "gan", ["one", "one"], [])
    pd.testing.assert_frame_equal(twice, alone)


def test_units_of_a_model_alone_have_no_best_buddy_and_vary():
    table = partners(1, "one")
    found = only_in({"one": table}, "one")
    own = table[(table["model"] == "one") & (table["best_buddy"] == "no")]
    assert set(found["channel"]) == set(own["channel"]) - {4}
    assert found["correlation"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("by", "not_by", "message"),
    [
        (["on"], [], "no partners of on: there are those of one, two"),
        (["one"], ["one", "two"], "one cannot have a unit and not have it"),
        ([], ["one"], "shared by no model"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(by, not_by, message):
    tables = {model: partners(0, model) for model in ("one", "two")}
    with pytest.raises(ValueError, match=message):
        shared_by(tables, "gan", by, not_by)


# --- files and the command line -------------------------------------------------------------------


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """A function that asks a question of a folder with partners of two models."""
    monkeypatch.chdir(tmp_path)
    for seed, model in enumerate(("one", "two")):
        path = tmp_path / f"results/partners/faces/gan--{model}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(partners(seed, model), path, made("partners", "gan", model, of={}))

    def ask(*words):
        monkeypatch.setattr("sys.argv", ["shared", *map(str, words)])
        shared.main()
        return capsys.readouterr().out

    return ask


def test_a_question_is_answered_on_screen_and_as_a_table(ask, tmp_path):
    said = ask("--by", "one", "--not-by", "two", "--first", 3, "--output", tmp_path / "x.csv")
    assert "... 4 more" in said and len(said.splitlines()) == 5
    assert len(pd.read_csv(tmp_path / "x.csv")) == 7
    assert "blocks" in ask("--only-in", "two")
    with pytest.raises(ValueError, match="--not-by goes with --by"):
        ask("--only-in", "two", "--not-by", "one")
    with pytest.raises(ValueError, match="sample_set=eyes finds them"):
        ask("--by", "one", "--sample-set", "eyes")


def test_tables_are_read_as_they_were_written(ask, tmp_path):
    table = read_partners(tmp_path / "results/partners/faces/gan--one.csv", ["gan", "one"])
    expected = partners(0, "one").astype({"partner_channel": float})
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, rtol=1e-6)
    found = coverage({"one": table}, "gan")
    write_table(found, tmp_path / "c.csv", made("coverage", "gan", "one", of={}))
    pd.testing.assert_frame_equal(read_coverage(tmp_path / "c.csv"), found, check_dtype=False)


@pytest.mark.parametrize("models", [1, 3, 20])
def test_the_figure_has_the_generator_and_at_most_twelve_models(models):
    tables = {f"model{n}": partners(n, f"model{n}") for n in range(models)}
    figure = coverage_figure(coverage(tables, "gan"))
    shown = [panel for panel in figure.axes if panel.get_visible()]
    assert len(shown) == (1 if models == 1 else 2) + min(models, 12)
    text = " ".join(one.get_text() for one in figure.texts).replace("\n", " ")
    assert ("8 more models are in the table" in text) == (models == 20)
