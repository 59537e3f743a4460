"""The workflow run in a fresh folder, and what each of its jobs took of the wall clock."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rosetta_steps.runtime.errors import UserError

# What a run writes into a project's folder; a scratch folder begins without it.
WRITTEN = {"results", "benchmarks", "logs", "site"}
COPIED = {"workflow", "config"}  # Snakemake resolves paths beside these files
LINES = 15  # of Snakemake's output that are shown when it fails


def prepare_folder(project: Path, folder: Path) -> None:
    """Fill a folder so that Snakemake can run there as in the project, with no results yet.

    Workflow and config are copied; all else but what a run writes is linked, weights included.

    Args:
        project: Folder that has workflow/Snakefile and config/.
        folder: Existing, empty folder.

    Raises:
        UserError: The project has no workflow.
    """
    if not (project / "workflow/Snakefile").is_file():
        raise UserError(
            f"{project} has no workflow/Snakefile: run this in the folder where snakemake is run."
        )
    for path in project.iterdir():
        if path.name in COPIED:
            shutil.copytree(path, folder / path.name)
        elif path.name not in WRITTEN and not path.name.startswith("."):
            (folder / path.name).symlink_to(path.absolute(), target_is_directory=path.is_dir())


def run_workflow(
    folder: Path,
    sample_set: str,
    cores: int,
    configfiles: Sequence[Path] = (),
    python: str | Path = sys.executable,
) -> tuple[float, float]:
    """Run `snakemake dictionary` of a sample set in a folder.

    Args:
        folder: As prepare_folder has filled it.
        sample_set: Name of the sample set.
        cores: Cores that Snakemake may use.
        configfiles: Files to lay over config/config.yaml.
        python: Python that runs Snakemake and its jobs.

    Returns:
        When it began (seconds since the epoch), and its wall clock in seconds.

    Raises:
        UserError: Snakemake failed; the message has the end of its output.
    """
    command = [str(python), "-m", "snakemake", "dictionary", "--cores", str(cores)]
    command += ["--config", f"sample_set={sample_set}"]
    if configfiles:
        command += ["--configfile", *(str(file.absolute()) for file in configfiles)]
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    begin = time.time()
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wall = time.time() - begin
    if done.returncode:
        last = "\n".join(done.stdout.replace("\r", "\n").splitlines()[-LINES:])
        raise UserError(f"the workflow failed in {folder}:\n{last}")
    return begin, wall


def jobs_of(folder: Path, begin: float, wall: float) -> pd.DataFrame:
    """Return every job of a run, by the files that Snakemake writes when a job ends.

    A file lies in a folder named after its rule, and was written when its job ended. Jobs may run
    side by side: each instant is divided between those that run, so that what the jobs took of the
    wall clock, and the time when none ran, add up to it.

    Args:
        folder: Where the workflow ran.
        begin: When it began, in seconds since the epoch.
        wall: Its wall clock in seconds.

    Returns:
        rule, name (the file's: a sample set, a model or a pair a--b), begin and end (seconds after
        the workflow began), job_seconds (as Snakemake measured them), seconds (of the wall clock).
    """
    rows = []
    root = folder / "benchmarks"
    for path in sorted(root.rglob("*.tsv")):
        seconds = float(pd.read_csv(path, sep="\t")["s"].iloc[0])
        end = min(path.stat().st_mtime - begin, wall)
        rule = path.relative_to(root).parts[0]
        rows.append((rule, path.stem, max(end - seconds, 0.0), end, seconds))
    jobs = pd.DataFrame(rows, columns=["rule", "name", "begin", "end", "job_seconds"])
    jobs["seconds"] = of_the_wall_clock(jobs)
    return jobs.sort_values("end", ignore_index=True)


def of_the_wall_clock(jobs: pd.DataFrame) -> pd.Series:
    """Return the seconds of the wall clock of each job, each instant divided between some jobs.

    Args:
        jobs: begin and end in seconds. The seconds add up to the time in which any of them ran.
    """
    seconds = pd.Series(0.0, index=jobs.index)
    instants = sorted({*jobs["begin"], *jobs["end"]})
    for before, after in zip(instants, instants[1:], strict=False):
        running = (jobs["begin"] <= before) & (jobs["end"] >= after)
        if running.any():
            seconds[running] += (after - before) / running.sum()
    return seconds
