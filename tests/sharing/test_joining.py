"""A network joins a published dictionary as if it had been mined with the others."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import rosetta_steps as rs
from rosetta_steps import join
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.tables import JOINED
from rosetta_steps.testing import Project

BUDDIES = "results/best_buddies/tiny/generator--{}.csv"
EVIDENCE = "results/evidence/tiny/generator--{}.csv"


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A dictionary of both networks, and a bundle of one with only the first, in two projects."""
    both = Project(tmp_path_factory.mktemp("both"))
    alone = both.copy(tmp_path_factory.mktemp("alone") / "project")
    alone.make("bundle")
    both.config(lambda config: config["sample_sets"]["tiny"].update(models=["one", "two"]))
    both.make("results/dictionary/tiny/rosetta.csv", EVIDENCE.format("two"))
    shutil.copytree(alone.folder / "results/bundles/tiny", alone.folder / "published")
    return SimpleNamespace(both=both.folder, alone=alone.folder)


@pytest.fixture(scope="module")
def joined(mined):
    """A function that joins a network to the bundle; what it wrote."""

    def joined(name, *options):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(mined.alone)
            words = ["join", name, "--bundle", "published", "--threads", "1", *options]
            patch.setattr("sys.argv", words)
            join.main()
        return mined.alone / f"joined/{name}--tiny"

    return joined


def test_a_network_of_the_dictionary_gets_exactly_the_rows_that_it_has_there(mined, joined):
    output = joined("one")
    published = pd.read_csv(mined.alone / "results/dictionary/tiny/rosetta.csv")
    found = pd.read_csv(output / "results/dictionary/tiny/rosetta.csv")
    pd.testing.assert_frame_equal(found, published)
    for table in (BUDDIES, EVIDENCE):
        path = table.format("one")
        assert (output / path).read_bytes() == (mined.alone / path).read_bytes()


def test_a_network_that_is_new_gets_the_matches_that_mining_it_would_give(mined, joined):
    output = joined("two")
    for table in (BUDDIES, EVIDENCE):
        path = table.format("two")
        assert (output / path).read_bytes() == (mined.both / path).read_bytes()


def test_of_each_concept_it_is_said_what_the_network_has(mined, joined):
    output = joined("two")
    table = pd.read_csv(output / "concepts.csv", keep_default_na=False)
    assert list(table) == list(JOINED)
    published = rs.open_bundle(mined.alone / "published").dictionary
    assert list(table["concept_id"]) == list(dict.fromkeys(published["concept_id"]))
    buddies = pd.read_csv(output / BUDDIES.format("two"))
    correlations = rs.open_results("tiny", mined.both).correlations("generator", "two")
    names = list(zip(correlations["layer_b"].values, correlations["channel_b"].values, strict=True))
    own = list(zip(correlations["layer_a"].values, correlations["channel_a"].values, strict=True))
    for row in table.itertuples():
        concept = published[published["concept"] == row.concept]
        units = set(zip(concept["generator_layer"], concept["generator_channel"], strict=True))
        has = [unit in units for unit in zip(buddies["layer_a"], buddies["channel_a"], strict=True)]
        unit = (row.generator_layer, row.generator_channel)
        partner = (row.layer, int(row.channel))
        if any(has):
            best = buddies[has].sort_values("correlation").iloc[-1]
            assert row.best_buddy == "yes" and row.correlation == best["correlation"]
            assert row.verdict
        else:
            assert row.best_buddy == "no" and row.verdict == ""
            assert unit == tuple(concept.iloc[0][["generator_layer", "generator_channel"]])
            of_unit = correlations["correlation"].values[own.index(unit)]
            assert partner == names[int(np.nanargmax(of_unit))]
            assert row.correlation == of_unit[names.index(partner)]
    said = (output / "index.html").read_text()
    assert f"two has best buddies in {(table['best_buddy'] == 'yes').sum()} of {len(table)}" in said


def test_what_an_earlier_run_has_finished_is_kept_until_the_network_changes(mined, joined):
    output = joined("two")
    stores = sorted(output.glob("results/*/*/*.done.json"))
    before = {path: path.stat().st_mtime_ns for path in stores if "dictionary" not in path.parts}
    joined("two")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    correlations = output / "results/correlations/tiny/generator--two.zarr"
    kept = table_of(rs.open_results("tiny", mined.both).correlations("generator", "two"), 5)
    (correlations.parent / f"{correlations.name}.done.json").unlink()
    (output / EVIDENCE.format("two")).unlink()
    joined("two")
    found = pd.read_csv(output / BUDDIES.format("two"))
    pd.testing.assert_frame_equal(found, kept, check_dtype=False)


def test_the_generator_of_the_dictionary_cannot_join_it(joined):
    with pytest.raises(ValueError, match="generator is what the concepts .* join another one"):
        joined("generator")
    with pytest.raises(ValueError, match="--threads is 0: give at least 1"):
        joined("two", "--threads", "0")


def test_what_was_damaged_is_named_with_the_folder_to_delete(joined):
    output = joined("two")
    table = output / BUDDIES.format("two")
    table.write_text("x")
    with pytest.raises(ValueError, match="is damaged.* joined/two--tiny: delete that folder"):
        joined("two")
    shutil.rmtree(output)


def test_a_network_that_is_in_no_zoo_is_refused_with_the_nearest(joined):
    with pytest.raises(ValueError, match="no model 'tow' .* Did you mean 'two'"):
        joined("tow")


def test_a_bundle_without_maps_of_all_units_is_refused(mined, tmp_path, monkeypatch):
    project = SimpleNamespace(folder=tmp_path / "project")
    shutil.copytree(mined.alone, project.folder)
    bundle = project.folder / "published"
    shutil.rmtree(bundle / "results/activations")
    sums = bundle / "manifest-sha256.txt"
    lines = [line for line in sums.read_text().splitlines() if "results/activations" not in line]
    sums.write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr("sys.argv", ["join", "two", "--bundle", str(bundle)])
    with pytest.raises(ValueError, match="no maps of every unit of generator.*store: matched"):
        join.main()
