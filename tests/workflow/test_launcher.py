"""What the `snakemake` command of workflow/launcher does to its arguments, and why it exists."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

LAUNCHER = ROOT / "workflow" / "launcher" / "rosetta_steps_launcher.py"


def load_launcher():
    spec = importlib.util.spec_from_file_location("rosetta_steps_launcher", LAUNCHER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reorder = load_launcher().reorder


def reordered(command_line: str) -> str:
    return " ".join(reorder(command_line.split()))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            "--cores all --resources gpu=4 dictionary",
            "dictionary --cores all --resources gpu=4",
            id="a target after the resources",
        ),
        pytest.param(
            "--cores all --res gpu=4 dictionary",
            "dictionary --cores all --res gpu=4",
            id="the short name of the option",
        ),
        pytest.param(
            "--resources gpu=4 mem_mb=1000 dictionary --cores all",
            "dictionary --resources gpu=4 mem_mb=1000 --cores all",
            id="several resources",
        ),
        pytest.param(
            "--resources gpu=4 dictionary report --cores all",
            "dictionary report --resources gpu=4 --cores all",
            id="several targets",
        ),
        pytest.param(
            "--resources gpu=4 dictionary results/k=5.csv --cores all",
            "dictionary results/k=5.csv --resources gpu=4 --cores all",
            id="a target with = after one without",
        ),
        pytest.param(
            "--resources gpu=4 dictionary --res mem_mb=1000 report",
            "dictionary report --resources gpu=4 --res mem_mb=1000",
            id="two lists of resources",
        ),
        pytest.param(
            "report --resources gpu=4 dictionary",
            "dictionary report --resources gpu=4",
            id="a target in front as well",
        ),
        pytest.param(
            "--resources gpu=4 dictionary -- report",
            "dictionary --resources gpu=4 -- report",
            id="targets before and after --",
        ),
    ],
)
def test_targets_move_to_the_front(given, expected):
    assert reordered(given) == expected


@pytest.mark.parametrize(
    "command_line",
    [
        pytest.param("", id="nothing"),
        pytest.param("dictionary --cores all", id="no resources"),
        pytest.param("dictionary --cores all --resources gpu=4", id="resources at the end"),
        pytest.param("dictionary --resources gpu=4 --cores all", id="an option after resources"),
        pytest.param("--resources gpu=4 -- dictionary", id="target after --"),
        pytest.param("-- --resources gpu=4 dictionary", id="everything after --"),
        pytest.param("--cores all --resources=gpu=4 dictionary", id="value joined by ="),
        pytest.param("--set-resources embed:gpu=1 dictionary", id="set-resources"),
        pytest.param("--default-resources gpu=0 dictionary", id="default-resources"),
    ],
)
def test_other_command_lines_stay_as_they_are(command_line):
    assert reordered(command_line) == command_line


def test_arguments_given_are_not_changed():
    argv = ["--resources", "gpu=4", "dictionary"]
    reorder(argv)
    assert argv == ["--resources", "gpu=4", "dictionary"]


TARGET_LAST = ["--cores", "1", "--resources", "gpu=4", "target"]


@pytest.fixture
def run_in_tiny_workflow(tmp_path):
    """Runs a command where the only rule is `target`; says how it ended and if it was built."""
    (tmp_path / "Snakefile").write_text(
        "rule unwanted:\n"
        "    output: 'unwanted.txt'\n"
        "    shell: 'touch {output}'\n"
        "rule target:\n"
        "    output: 'target.txt'\n"
        "    resources: gpu=1\n"
        "    shell: 'command -v python > {output}'\n"
    )

    def run(*command):
        process = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        return process, sorted(path.name for path in tmp_path.glob("*.txt"))

    return run


def test_the_launcher_builds_a_target_that_follows_resources(run_in_tiny_workflow):
    process, built = run_in_tiny_workflow(LAUNCHER, *TARGET_LAST)
    assert process.returncode == 0, process.stderr
    assert built == ["target.txt"]


def test_jobs_use_the_environment_of_the_launcher(run_in_tiny_workflow, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.defpath)
    run_in_tiny_workflow(LAUNCHER, *TARGET_LAST)
    python = (tmp_path / "target.txt").read_text().strip()
    assert Path(python).parent == Path(sys.executable).parent


def test_the_launcher_passes_on_that_snakemake_failed(run_in_tiny_workflow):
    process, built = run_in_tiny_workflow(LAUNCHER, "--cores", "1", "no_such_target")
    assert process.returncode != 0
    assert "no_such_target" in process.stderr
    assert built == []


def test_plain_snakemake_refuses_the_same_command_line(run_in_tiny_workflow):
    """Why the launcher exists. Once this fails, Snakemake has learned it: drop the launcher."""
    process, built = run_in_tiny_workflow("-m", "snakemake", *TARGET_LAST)
    assert process.returncode != 0
    assert built == []


def test_plain_snakemake_accepts_a_target_after_a_joined_value(run_in_tiny_workflow):
    """Why the launcher leaves `--resources=gpu=4 target` alone."""
    process, built = run_in_tiny_workflow(
        "-m", "snakemake", "--cores", "1", "--resources=gpu=4", "target"
    )
    assert process.returncode == 0, process.stderr
    assert built == ["target.txt"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--configfile a.yaml dictionary -n", "dictionary --configfile a.yaml -n"),
        (
            "--configfile a.yaml b.yml c.json dictionary",
            "dictionary --configfile a.yaml b.yml c.json",
        ),
        ("--configfiles mine dictionary", "dictionary --configfiles mine"),
        (
            "--configfile a.yaml results/samples/x.zarr.done.json",
            "results/samples/x.zarr.done.json --configfile a.yaml",
        ),
        ("dictionary --configfile a.yaml b.yaml", "dictionary --configfile a.yaml b.yaml"),
        ("--configfile=a.yaml dictionary", "--configfile=a.yaml dictionary"),
    ],
)
def test_targets_after_config_files_move_to_the_front(given, expected):
    assert reordered(given) == expected


@pytest.fixture
def in_a_project(tmp_path):
    """Runs the launcher in a folder whose rosetta_steps is ours; its output and exit status."""
    (tmp_path / "rosetta_steps").symlink_to(LAUNCHER.parents[2] / "rosetta_steps")
    (tmp_path / "workflow").symlink_to(LAUNCHER.parents[1])
    (tmp_path / "Snakefile").write_text("rule target:\n    output: 'x'\n    shell: 'touch x'\n")

    def run(*arguments):
        command = [sys.executable, LAUNCHER, "-n", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return done.returncode, (done.stdout + done.stderr).strip()

    return run


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mine.yaml is empty: expected settings"),
        ("- a\n", "mine.yaml holds a list at its top level"),
        ("a:\n\tb: 1\n", "mine.yaml is not YAML: line 2, column 1: "),
        ("a: 1\na: 2\n", "mine.yaml: 'a' stands in line 1 and again in line 2"),
        ("a: &a [*a]\n", "mine.yaml: what begins in line 1 contains itself"),
        ("a: " + "[" * 10**5, "mine.yaml: line 1 is nested more than 40 deep"),
        (None, "mine.yaml does not exist"),
    ],
)
def test_a_config_file_that_cannot_be_read_is_refused_in_one_line(
    in_a_project, tmp_path, text, said
):
    if text is not None:
        (tmp_path / "mine.yaml").write_text(text)
    status, output = in_a_project("--configfile", "mine.yaml", "target")
    assert status == 1 and output.startswith(said) and "\n" not in output


def test_config_files_that_can_be_read_are_left_to_snakemake(in_a_project, tmp_path):
    (tmp_path / "mine.yaml").write_text("a: 1\n")
    (tmp_path / "mine.json").write_text('{"b":\t2}\n')
    status, output = in_a_project("--configfile", "mine.yaml", "mine.json", "target")
    assert status == 0 and "rule target" in output


def test_elsewhere_config_files_are_not_looked_at(run_in_tiny_workflow, tmp_path):
    (tmp_path / "mine.yaml").write_text("a: 1\na: 2\n")
    arguments = ["--cores", "1", "--configfile", "mine.yaml", "target"]
    process, built = run_in_tiny_workflow(LAUNCHER, *arguments)
    assert process.returncode == 0, process.stderr
    assert built == ["target.txt"]
