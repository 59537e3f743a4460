"""Dask workers as Slurm jobs ask for what the config says, and are refused before any waits."""

import sys

import pytest

from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.correlation.slurm_workers import (
    asked_by_workers,
    refuse_ended_jobs,
    slurm_workers,
)
from rosetta_steps.runtime.needs import MINUTES


@pytest.fixture
def within_a_job(monkeypatch):
    """Variables of a Slurm job of partition work that ends in an hour."""
    monkeypatch.setattr("time.time", lambda: 1000.0)
    monkeypatch.setenv("SLURM_JOB_PARTITION", "work")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "4600")


def test_a_job_of_workers_asks_for_all_of_them_no_longer_than_the_job_that_starts_it(within_a_job):
    settings = Correlation(workers_per_job=8, threads_per_worker=2, memory_gb=3, gpus=0)
    asked = asked_by_workers(settings)
    assert (asked.cores, asked.memory_mb, asked.gpus) == (16, 24000, 0)
    assert (asked.partition, asked.minutes) == ("work", 60)


def test_outside_of_a_job_workers_have_the_usual_time_and_the_default_partition(monkeypatch):
    for name in ("SLURM_JOB_PARTITION", "SLURM_JOB_END_TIME"):
        monkeypatch.delenv(name, raising=False)
    asked = asked_by_workers(Correlation())
    assert (asked.partition, asked.minutes, asked.gpus) == ("", MINUTES, 1)


def test_several_workers_with_one_gpu_are_refused(tmp_path):
    pytest.importorskip("dask_jobqueue", reason="needs the extra slurm")
    settings = Correlation(workers_per_job=2)
    with (
        pytest.raises(ValueError, match="workers_per_job is 2: .* has one worker. Set it to 1"),
        slurm_workers(settings, None, tmp_path, "a--b"),
    ):
        pass


def test_a_missing_dask_jobqueue_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with (
        pytest.raises(ValueError, match="needs dask-jobqueue: pip install -e '.\\[slurm\\]'"),
        slurm_workers(Correlation(), None, tmp_path, "a--b"),
    ):
        pass


def test_a_machine_without_slurm_is_named_before_anything_is_waited_for(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue", reason="needs the extra slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ValueError, match="no sbatch on this machine"),
        slurm_workers(Correlation(), None, tmp_path, "a--b"),
    ):
        pass


def test_jobs_that_ended_before_a_worker_had_connected_are_refused_with_the_end_of_a_log(tmp_path):
    (tmp_path / "dask-a--b-10.err").write_text("started\nslurmstepd: Exceeded job memory limit\n")
    with pytest.raises(ValueError, match="job 10 of .*b-10.err.* ends: .* Exceeded job memory"):
        refuse_ended_jobs(["9", "10"], tmp_path)
    with pytest.raises(ValueError, match="job 11 of .* says nothing. Does its node see /"):
        refuse_ended_jobs(["11"], tmp_path)
