"""Each job on a machine gets a CUDA device of its own, and gives it back however it ends."""

import subprocess
import sys

import pytest
import torch

from rosetta_steps.runtime.devices import refuse_unusable_devices, visible_devices

# The second lease is the first one again. The alarm ends a job that waits in vain.
JOB = """
import os, signal, sys
from rosetta_steps.runtime import devices
from rosetta_steps.runtime.devices import lease, visible_devices
devices.refuse_unusable_devices = lambda: None  # these devices do not exist
signal.alarm(20)
count = int(sys.argv[1])
print(lease(0.02, count), lease(0.02, count), *visible_devices(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a job that holds one of two devices, or more, until its stdin is closed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    jobs = []

    def start(count: int = 1) -> subprocess.Popen:
        command = [sys.executable, "-c", JOB, str(count)]
        jobs.append(subprocess.Popen(command, text=True, **pipes))
        return jobs[-1]

    yield start
    for job in jobs:
        with job:
            job.kill()


def test_two_jobs_see_one_device_each_and_a_third_waits_for_the_first_to_end(start):
    first, second = start(), start()
    seen = first.stdout.readline(), second.stdout.readline()
    assert sorted(seen) == ["cuda cuda GPU-a\n", "cuda cuda GPU-b\n"]
    third = start()
    waits = "2 of 2 CUDA devices are taken: waiting for 1 to be free\n"
    assert third.stderr.readline() == waits
    first.stdin.close()
    assert third.stdout.readline() == seen[0]


def test_a_job_takes_several_devices_or_none_and_others_still_get_those_it_cannot_have(start):
    one = start()
    seen = one.stdout.readline()
    both = start(2)
    assert both.stderr.readline() == "1 of 2 CUDA devices are taken: waiting for 2 to be free\n"
    other = start()
    assert other.stdout.readline() != seen
    for job in (one, other):
        job.stdin.close()
    assert both.stdout.readline() == "cuda cuda GPU-a GPU-b\n"


def test_where_there_are_fewer_devices_than_wanted_a_job_takes_all(start):
    assert start(3).stdout.readline() == "cuda cuda GPU-a GPU-b\n"


def test_a_job_that_wants_no_device_sees_none_and_takes_none(start):
    assert start(0).stdout.readline() == "cpu cpu\n"
    assert start(2).stdout.readline() == "cuda cuda GPU-a GPU-b\n"


def test_a_killed_job_gives_its_device_back(start):
    first, second = start(), start()
    seen = first.stdout.readline(), second.stdout.readline()
    second.kill()
    assert start().stdout.readline() == seen[1]


def test_two_slurm_jobs_on_a_node_may_each_call_their_own_device_0(start, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for job in ("17", "18"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        assert start().stdout.readline() == "cuda cuda 0\n"
    assert start().stderr.readline().startswith("1 of 1 CUDA devices are taken")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch that can use no device")
def test_a_device_that_torch_cannot_use_is_one_line_with_build_and_remedy(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(ValueError, match="given the GPU 3, and torch .* cannot use it") as error:
        refuse_unusable_devices()
    assert "built for" in str(error.value) and "`device: cpu`" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("hidden", ["", "-1", " -1 ,"])
def test_a_job_without_devices_runs_on_the_cpu(hidden, start, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert start().stdout.readline() == "cpu cpu\n"


def test_what_stands_for_no_device_is_not_taken_for_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,,-1,GPU-b")
    assert visible_devices() == ["GPU-a", "GPU-b"]


def test_devices_that_nobody_names_are_those_of_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_devices() == []
    program = tmp_path / "nvidia-smi"
    for script, devices in (
        ("echo GPU-a; echo GPU-b", ["GPU-a", "GPU-b"]),
        ("echo No; exit 6", []),
    ):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        assert visible_devices() == devices
