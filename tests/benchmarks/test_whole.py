"""A whole run beside its bare costs: every job is counted once, and every stage is shown."""

import os
import shutil
import sys

import pandas as pd
import pytest
import torch

from rosetta_steps.benchmarks import whole
from rosetta_steps.benchmarks.account import (
    NO_JOB,
    STAGES,
    WHOLE,
    Pair,
    jobs_beside_bare,
    picture,
    seconds_of_the_pair,
    stages,
)
from rosetta_steps.benchmarks.bare import COLUMNS
from rosetta_steps.benchmarks.jobs import jobs_of, prepare_folder, run_workflow
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.testing import Project
from rosetta_steps.workflow.chosen import Chosen

BEGIN = 1_000_000.0


def ended(folder, rule, name, begin, end):
    """A job's file as Snakemake leaves it, seconds after the workflow began."""
    path = folder / "benchmarks" / rule / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{end - begin}\t0:00:00\t1\n")
    os.utime(path, (BEGIN + end, BEGIN + end))


@pytest.fixture
def jobs(tmp_path):
    """Twenty seconds: two jobs side by side, one alone, and a rule that no stage is known for."""
    ended(tmp_path, "sampling", "faces", 2, 6)
    ended(tmp_path, "activations", "faces/g", 6, 10)
    ended(tmp_path, "activations", "faces/a", 8, 12)
    ended(tmp_path, "correlation", "faces/g--a", 12, 15)
    ended(tmp_path, "something_new", "faces", 15, 19)
    return jobs_of(tmp_path, BEGIN, 20.0)


@pytest.fixture
def bare():
    rows = [
        ("sampling", "faces", "forward pass", 1.0),
        ("activations", "g", "forward pass", 1.0),
        ("activations", "a", "forward pass", 2.0),
        ("activations", "a", "writing", 0.5),
        ("correlation", "g--a", "products", 1.5),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_an_instant_is_divided_between_the_jobs_that_run(jobs):
    assert jobs.set_index("name")["seconds"].to_dict() | {"faces": 0} == {
        "g": 3.0,
        "a": 3.0,
        "g--a": 3.0,
        "faces": 0,
    }


def test_stages_and_the_time_without_jobs_add_up_to_the_wall_clock(jobs, bare):
    table = stages(jobs, bare, 20.0).set_index("stage")
    parts = table.drop(WHOLE)
    assert parts["seconds"].sum() == table.loc[WHOLE, "seconds"] == 20
    assert parts["share"].sum() == pytest.approx(1)
    assert table.loc[NO_JOB, "seconds"] == 3
    assert table.loc["activations", ["jobs", "job_seconds", "seconds"]].tolist() == [2, 8, 6]


def test_a_ratio_is_that_to_the_bare_cost_and_the_whole_has_their_sum(jobs, bare):
    table = stages(jobs, bare, 20.0).set_index("stage")
    assert table["bare"].dropna().to_dict() == {
        "sampling": 1.0,
        "activations": 3.5,
        "correlation": 1.5,
        WHOLE: 6.0,
    }
    assert table.loc["sampling", "ratio"] == 4
    assert table.loc[WHOLE, "ratio"] == pytest.approx(20 / 6)


def test_a_rule_that_is_merged_leaves_no_stage_and_a_new_one_is_shown_by_its_name(jobs, bare):
    shown = stages(jobs, bare, 20.0)["stage"].tolist()
    assert shown == ["sampling", "activations", "correlation", "something_new", NO_JOB, WHOLE]


def test_a_bare_cost_whose_stage_has_no_job_is_kept(jobs, bare):
    merged = jobs.assign(rule=jobs["rule"].replace("correlation", "something_new"))
    table = stages(merged, bare, 20.0).set_index("stage")
    assert table.loc["correlation", ["jobs", "seconds", "bare"]].tolist() == [0, 0, 1.5]
    assert table.loc[WHOLE, "bare"] == 6


def test_jobs_stand_beside_their_bare_costs(jobs, bare):
    table = jobs_beside_bare(jobs, bare).set_index("name")
    assert table.loc["a", ["seconds", "ratio", "to_forward"]].tolist() == [3, 3 / 2.5, 1.5]
    assert table.loc["g--a", "ratio"] == 2


def test_a_pair_has_its_own_jobs_and_those_of_the_whole_sample_set(jobs):
    found = seconds_of_the_pair(jobs, "faces", "g", "a")
    # Both dumps took four seconds, and ran side by side for two of them.
    assert found.to_dict() == {"sampling": 4, "activations": 6, "correlation": 3}


def test_what_runs_beside_the_jobs_of_a_pair_has_its_own_share_of_the_time(tmp_path):
    ended(tmp_path, "correlation", "faces/g--a", 2, 6)
    ended(tmp_path, "best_buddies", "faces/g--b", 2, 6)
    jobs = jobs_of(tmp_path, BEGIN, 8.0)
    assert seconds_of_the_pair(jobs, "faces", "g", "a").to_dict() == {"correlation": 2}


def test_every_stage_has_a_bar_with_its_bare_costs_below(jobs, bare):
    table = stages(jobs, bare, 20.0)
    published = pd.Series({"forward passes": 4, "statistics": 6, "correlation": 88})
    published = published.reindex([*published.index, "loading", "best buddies"], fill_value=1.0)
    ours = seconds_of_the_pair(jobs, "faces", "g", "a")
    pair = Pair("g × a", published, 4, 8, ours)
    upper, left, right = picture(table, bare, pair, "a machine").axes
    shown = table[table["stage"] != WHOLE]
    assert [label.get_text() for label in upper.get_yticklabels()] == shown["stage"].tolist()
    widths = [bar.get_width() for bar in upper.patches]
    assert sum(widths) == pytest.approx(shown["seconds"].sum() + shown["bare"].sum())
    assert sum(bar.get_width() for bar in left.patches) == pytest.approx(20 + 6)
    widths = [bar.get_width() for bar in right.patches]
    assert widths == [*published, ours.sum()]
    assert "4 images, scaled linearly to 8" in right.get_title(loc="right")


def test_without_a_pair_the_whole_is_drawn_alone(jobs, bare):
    assert len(picture(stages(jobs, bare, 20.0), bare, None, "a machine").axes) == 2


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A tiny project to run in, whose pair is computed by one worker."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(folder)
    made.config(lambda config: config["correlation"].update(threads_per_worker=2))
    monkeypatch.chdir(folder)

    def run_and_keep(at, *given):
        """Run with the tests' Python, and keep the results, which a run removes."""
        took = run_workflow(at, *given, python=Project.python)
        shutil.copytree(at / "results", folder / "kept")
        return took

    monkeypatch.setattr(whole, "run_workflow", run_and_keep)
    # Here and now, without the imports of another process.
    monkeypatch.setattr(
        whole, "in_a_process", lambda cores, call, *given, **named: call(*given, **named)
    )
    threads = torch.get_num_threads()
    yield made
    torch.set_num_threads(threads)


def test_a_whole_run_is_accounted_for(project, monkeypatch, capsys):
    words = ["whole", "--sample-set", "tiny", "--cores", "2", "--published-images", "3"]
    monkeypatch.setattr(sys, "argv", [*words, "--output", "made"])
    whole.main()
    out = project.folder / "made"
    assert {path.name for path in out.iterdir()} == {
        *(f"{name}.csv" for name in ("whole", "jobs", "bare", "pair")),
        *("whole.png", "whole.pdf"),
    }
    assert not (project.folder / "results").exists()
    table = pd.read_csv(out / "whole.csv").set_index("stage")
    assert set(STAGES) - {"moments"} <= set(table.index)  # which may be made with the dump
    bare = pd.read_csv(out / "bare.csv")
    assert set(bare[["stage", "name", "what"]].itertuples(index=False, name=None)) == {
        ("sampling", "tiny", "forward pass"),
        *(("activations", n, w) for n in ("generator", "one") for w in ("forward pass", "writing")),
        *(
            ("correlation", f"generator--{n}", w)
            for n in ("generator", "one")
            for w in ("products", "reading")
        ),
    }
    assert (bare["seconds"] > 0).all()
    said = capsys.readouterr().out
    assert "times the sum of its bare costs" in said
    assert "published way, on 3 images, scaled linearly to 8" in said
    # The same on results that are there.
    monkeypatch.setattr(
        sys, "argv", [*words, "--skip-workflow", "--folder", "kept", "--output", "bare"]
    )
    whole.main()
    assert {path.name for path in (project.folder / "bare").iterdir()} == {"bare.csv", "pair.csv"}


def test_a_model_that_is_not_mined_is_refused():
    chosen = Chosen({"sample_sets": {"tiny": {"generator": "g", "models": ["one"]}}})
    assert whole.model_of_the_pair(chosen, "tiny", None) == "one"
    with pytest.raises(UserError, match="two is not mined in tiny. Give one of one"):
        whole.model_of_the_pair(chosen, "tiny", "two")


def test_a_scratch_folder_has_what_a_run_reads_and_nothing_that_one_wrote(tmp_path):
    project, scratch = tmp_path / "project", tmp_path / "scratch"
    for folder in ("workflow", "config", "results", "benchmarks", ".snakemake"):
        (project / folder).mkdir(parents=True)
    for file in ("workflow/Snakefile", "config/config.yaml", "own.safetensors"):
        (project / file).touch()
    scratch.mkdir()
    prepare_folder(project, scratch)
    assert {path.name for path in scratch.iterdir()} == {"workflow", "config", "own.safetensors"}
    assert (scratch / "own.safetensors").is_symlink()
    assert not (scratch / "workflow").is_symlink()


def test_a_folder_without_a_workflow_is_refused(tmp_path):
    with pytest.raises(UserError, match="no workflow/Snakefile"):
        prepare_folder(tmp_path, tmp_path / "scratch")


def test_a_workflow_that_fails_is_shown_with_the_end_of_its_output(tmp_path):
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/Snakefile").write_text("raise ValueError('no such set')\n")
    with pytest.raises(UserError, match="(?s)the workflow failed.*no such set"):
        run_workflow(tmp_path, "tiny", 1, python=Project.python)
