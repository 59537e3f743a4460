"""What reruns when something changes: a tiny zoo is mined once, the rest are dry runs."""

import doctest
import json
import os
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import xarray as xr

from rosetta_steps.storage.manifests import digest_of_artefact
from rosetta_steps.storage.revisions import revision
from rosetta_steps.testing import Project
from rosetta_steps.workflow import results

ONE_MODEL = {
    "fetch_weights": 1,
    "activations": 1,
    "correlation": 1,
    "best_buddies": 1,
}
DICTIONARY = {"concepts": 1, "dictionary_page": 1, "figures": 1}
# Of the generator and of the model that it was matched with.
MATCHED = {"matched_maps": 2}
# Of the generator and that model.
EVIDENCE = {"image_sums": 1, "evidence": 1, "names": 1}
FROM_BUDDIES_ON = MATCHED | EVIDENCE | DICTIONARY


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A project whose dictionary has been made."""
    project = Project(tmp_path_factory.mktemp("mined"))
    project.make("dictionary")
    return project


@pytest.fixture
def project(mined, tmp_path):
    """A copy of it to change."""
    return mined.copy(tmp_path / "copy")


def test_the_dictionary_is_there_to_read_and_to_look_at(mined):
    folder = mined.folder / "results/dictionary/tiny"
    assert set(pd.read_csv(folder / "rosetta.csv")["model"]) == {"one"}
    assert (folder / "index.html").stat().st_size > 1000
    maps = xr.open_datatree(mined.folder / "results/activations/tiny/one.zarr")
    assert next(iter(maps.children.values()))["activation"].dims == ("image", "channel", "y", "x")


def test_a_second_run_has_nothing_to_do(project):
    assert project.planned() == {}


def test_a_new_model_runs_its_own_jobs_and_the_dictionary(project):
    project.config(lambda c: c["sample_sets"]["tiny"]["models"].append("two"))
    assert project.planned() == ONE_MODEL | {"plan": 1} | FROM_BUDDIES_ON


def test_untrained_copies_run_without_a_dump_and_rerun_the_evidence_alone(project):
    project.config(lambda c: c["sample_sets"]["tiny"].update(untrained=2))
    copies = {"streams": 2, "moments": 2, "correlation": 2}
    after = {"evidence": 1, "untrained": 1, "dictionary_page": 1}
    assert project.planned() == copies | after | {"plan": 1}
    project.config(lambda c: c["sample_sets"]["tiny"].update(untrained=1))
    table = "results/untrained/tiny/generator--one.csv"
    evidence = "results/evidence/tiny/generator--one.csv"
    project.make(table, evidence)
    found = pd.read_csv(project.folder / table).set_index("figure")
    assert (found["networks"] <= 1).all() and found.loc["K = 1: pairs", "trained"] > 0
    assert pd.read_csv(project.folder / evidence)["untrained_excess"].notna().all()
    assert not (project.folder / "results/activations/tiny/one.untrained-0.zarr").exists()
    # Evidence of a copy's own pairs is made when it is asked for.
    own = "results/evidence/tiny/generator--one.untrained-0.csv"
    project.make(own)
    assert pd.read_csv(project.folder / own)["q"].notna().all()
    assert not (project.folder / "results/activations/tiny/one.untrained-0.zarr").exists()
    # Of another model, copies of its own.
    project.config(lambda c: c["sample_sets"]["tiny"]["models"].append("two"))
    copies = {"streams": 1, "moments": 1, "correlation": 2, "untrained": 1}
    assert project.planned() == ONE_MODEL | {"plan": 1} | FROM_BUDDIES_ON | copies


def test_a_deleted_plan_is_made_again_and_nothing_else(project):
    (project.folder / "results/plans/tiny.txt").unlink()
    assert project.planned() == {"plan": 1}


def test_a_new_k_reruns_from_best_buddies_on(project):
    project.config(lambda c: c.update(neighbours=3))
    assert project.planned() == {"plan": 1, "best_buddies": 2} | FROM_BUDDIES_ON


def test_a_figure_setting_only_redraws(project):
    project.config(lambda c: c["figures"].update(images=2))
    assert project.planned() == {"figures": 1}


def test_a_changed_clustering_reruns_the_dictionary(project):
    project.edit("rosetta_steps/storage/revisions.toml", '"concepts" = 2', '"concepts" = 3')
    assert project.planned() == DICTIONARY


def test_another_clustering_reruns_the_dictionary(project):
    project.config(lambda c: c["clustering"].update(method="components"))
    assert project.planned() == DICTIONARY


def test_a_changed_correlation_reruns_it_and_what_depends_on_it(project):
    of_step = f'"correlation.step" = {revision("correlation.step")}'
    project.edit("rosetta_steps/storage/revisions.toml", of_step, f"{of_step}0")
    assert project.planned() == {"correlation": 2, "best_buddies": 2} | FROM_BUDDIES_ON


def test_code_whose_revision_stays_reruns_nothing(project):
    project.edit("rosetta_steps/correlation/units.py", "cannot be correlated", "are not correlated")
    assert project.planned() == {}


def test_an_entry_reruns_only_its_own_model_and_words_in_it_nothing(project):
    project.edit("config/models.yaml", "source: random weights", "source: other words")
    assert project.planned() == {}
    project.edit("config/models.yaml", "path: one.safe", "path: ./one.safe")
    assert project.planned() == ONE_MODEL | {"plan": 1} | FROM_BUDDIES_ON


def test_weights_replaced_by_other_bytes_rerun_their_model_however_old_they_are(project):
    shutil.copy2(project.folder / "two.safetensors", project.folder / "one.safetensors")
    os.utime(project.folder / "one.safetensors", (0, 0))
    assert project.planned() == ONE_MODEL | {"plan": 1} | FROM_BUDDIES_ON


def test_weights_of_the_same_bytes_rerun_nothing_however_new_they_are(project):
    os.utime(project.folder / "one.safetensors")
    assert project.planned() == {}


def test_a_damaged_table_is_made_again_by_the_command_that_its_error_prints_or_the_same(project):
    table = "results/correlations/tiny/generator--one.zarr"
    chunks = (project.folder / table / "correlation").rglob("*")
    chunk = next(path for path in chunks if path.is_file() and path.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[::-1])
    command = [sys.executable, "-m", "rosetta_steps.best_buddies", "--correlations", table]
    failed = subprocess.run(
        [*command, "--output", "again.csv"], cwd=project.folder, capture_output=True, text=True
    )
    advice = re.search(r"is damaged: .*\(snakemake --cores all (\S+)\)", failed.stderr)
    assert project.planned(advice[1]) == {"correlation": 1}
    assert project.planned() == {"correlation": 1, "best_buddies": 1} | FROM_BUDDIES_ON


def test_missing_weights_are_named_by_the_job_that_checks_them(project):
    (project.folder / "one.safetensors").unlink()
    with pytest.raises(AssertionError, match="Error: one: there is no file") as failed:
        project.snakemake("results/weights/one.txt", "--cores", "1")
    # The step failed, though what it says goes through tee, which did not.
    assert "returned non-zero exit status 1" in str(failed.value)
    assert "MissingOutputException" not in str(failed.value)


def test_delete_all_output_takes_the_stores_as_well_and_a_dry_run_takes_nothing(project):
    stores = [path for path in (project.folder / "results").rglob("*.zarr") if path.is_dir()]
    assert len(stores) > 4
    project.snakemake("dictionary", "--delete-all-output", "-n")
    assert all(path.is_dir() for path in stores)
    project.snakemake("dictionary", "--delete-all-output", "--cores", "1")
    assert not any(path.exists() for path in stores)


@pytest.mark.parametrize("store", ["all", "matched"])
def test_as_a_module_with_a_prefix_every_step_reads_and_writes_below_it(project, store):
    """Beside results of an unprefixed run, which it must not take for its own."""
    (project.folder / "Snakefile").write_text(
        f"""
configfile: "config/config.yaml"
config["sample_sets"]["tiny"].update(seed=1, store="{store}")
module rosetta:
    snakefile: "{project.folder}/workflow/Snakefile"
    config: config
    prefix: "{store}"
use rule * from rosetta as rosetta_*
"""
    )
    target = f"{store}/results/best_buddies/tiny/generator--one.csv"
    own = project.folder / "results/plans/tiny.txt"
    before = own.stat().st_mtime_ns
    others = [
        f"{store}/results/{file}" for file in ("plans/tiny.txt", "moments/tiny/one.zarr.done.json")
    ]
    project.snakemake("-s", "Snakefile", target, *others, "--cores", "2")
    assert own.stat().st_mtime_ns == before
    made_of = json.loads((project.folder / f"{target}.done.json").read_text())["made_of"]
    for folder, same in ((f"{store}/results", True), ("results", False)):
        samples = digest_of_artefact(project.folder / folder / "samples/tiny.zarr")
        assert (made_of["samples on tiny"] == samples) is same


def test_a_notebook_opens_the_results_by_the_example_of_its_docstring(mined, monkeypatch):
    monkeypatch.chdir(mined.folder)
    found = doctest.testmod(results)
    assert found.attempted > 4 and found.failed == 0
    opened = results.open_results("tiny")
    images = opened.samples.sizes["image"]
    assert {layer.sizes["image"] for layer in opened.activations("one").children.values()} == {
        images
    }
    assert len(opened.dictionary) and opened.moments("one").children
    assert opened.correlations("generator", "one")["correlation"].dims == ("unit_a", "unit_b")
    with pytest.raises(ValueError, match="Sample sets in .*: tiny"):
        results.open_results("tniy")
