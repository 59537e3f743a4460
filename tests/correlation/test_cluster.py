"""Workers of a Dask scheduler that runs already: the same numbers, or a clear refusal."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from brute_force import run
from conftest import ROOT
from distributed import Client
from distributed.comm import CommClosedError

from rosetta_steps.correlation import cluster, pieces, step
from rosetta_steps.correlation.cluster import refuse_differences, seen
from rosetta_steps.correlation.pieces import Job
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.pieces import pieces_folder
from rosetta_steps.testing import moments_of, random_maps, write_maps


def dask(*arguments):
    """A process of Dask's own command, as started by hand."""
    command = [sys.executable, "-m", "dask", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def scheduler():
    """Address of a scheduler without workers."""
    process = dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    for line in process.stderr:
        if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line):
            break
    yield found.group(1)
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def four_workers(scheduler):
    """The same scheduler with four workers."""
    process = dask("worker", scheduler, "--nworkers", "4", "--nthreads", "1", "--no-dashboard")
    with Client(scheduler) as client:
        client.wait_for_workers(4, timeout=60)
    yield scheduler
    process.terminate()
    process.wait()


def test_a_scheduler_without_workers_is_refused(scheduler, two_stores, tmp_path, monkeypatch):
    a, b, *_ = two_stores
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    with pytest.raises(ValueError, match=f"{scheduler} has no workers. Start some.*dask worker"):
        run(a, b, tmp_path / "x.zarr", scheduler=scheduler)


def test_a_scheduler_that_does_not_answer_is_named(two_stores, tmp_path, monkeypatch):
    a, b, *_ = two_stores
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    with pytest.raises(ValueError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 "):
        run(a, b, tmp_path / "x.zarr", scheduler="tcp://127.0.0.1:9")


def test_four_workers_of_a_scheduler_give_the_bits_of_one_here(four_workers, two_stores, tmp_path):
    a, b, *_ = two_stores
    here = run(a, b, tmp_path / "here.zarr", images_per_strip=3, workers=1)
    there = run(a, b, tmp_path / "there.zarr", images_per_strip=3, scheduler=four_workers)
    np.testing.assert_array_equal(here["correlation"], there["correlation"])


def job_of(two_stores) -> Job:
    a, b, *_ = two_stores
    return Job.of(
        a, b, moments_of(a), moments_of(b), Correlation(decoys=0), block=4, holds_larger=False
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"torch": "1.0"}, r"sees another torch than this process \(1.0, not .*same environment"),
        ({"rosetta_steps": "old"}, "sees another rosetta_steps.*same environment"),
        ("b.zarr", r"sees another \S+/b.zarr than this process \(none, not .*machines share"),
        ("scratch", r"sees another \S+/scratch than this process \(none, not .*machines share"),
    ],
)
def test_a_worker_that_sees_something_else_is_refused(two_stores, tmp_path, change, message):
    pieces_folder(tmp_path / "x", "identity").rename(tmp_path / "scratch")
    own = seen(job_of(two_stores).paths, str(tmp_path / "scratch"))
    refuse_differences("tcp://there", dict(own), own)
    if isinstance(change, str):
        lost = {"b.zarr": "", "scratch": "none"}[change]
        change = {name: lost for name in own if name.endswith(change) and "moments" not in name}
    with pytest.raises(ValueError, match=f"the worker at tcp://there {message}"):
        refuse_differences("tcp://there", own | change, own)


def test_a_worker_that_joins_later_is_refused_with_its_first_piece(two_stores, tmp_path):
    job = job_of(two_stores)
    job.refuse_other_software()
    other = replace(job, software=("Python 2.7", *job.software[1:]))
    with pytest.raises(ValueError, match=r"a worker on \S+ has Python 3.*, not Python 2.7"):
        pieces.piece(other, None, (0, 4), str(tmp_path / "piece.npz"))


def test_a_worker_without_the_package_is_refused():
    error = ModuleNotFoundError("No module named 'rosetta_steps'")
    with pytest.raises(ValueError, match="tcp://there cannot run rosetta_steps .*environment"):
        refuse_differences("tcp://there", error, {})


def test_of_a_worker_that_ended_while_it_was_asked_memory_is_named_and_not_its_environment():
    error = CommClosedError("Stream is closed")
    with pytest.raises(ValueError, match="tcp://there ended while .* raise correlation.memory_gb"):
        refuse_differences("tcp://there", error, {})


def test_a_store_that_changes_under_the_run_is_refused(two_stores, tmp_path, monkeypatch):
    a, b, *_ = two_stores
    compute = step.compute

    def written_anew(*arguments, **progress):
        compute(*arguments, **progress)
        write_maps(b, random_maps(9, 10, (4, 20, 9), (3, 7, 7), (2, 2, 2)))

    monkeypatch.setattr(step, "compute", written_anew)
    with pytest.raises(StoreError, match="b.zarr has changed since this correlation began"):
        run(a, b, tmp_path / "x.zarr")


def test_where_the_memory_of_a_gpu_is_full_blocks_are_halved(capsys):
    tried = []

    def compute(block):
        tried.append(block)
        if block > 3:
            raise torch.OutOfMemoryError
        return "sums"

    assert pieces._with_smaller_blocks(compute, 12) == "sums"
    assert tried == [12, 6, 3]
    assert "going on with 3 images at once" in capsys.readouterr().err
    with pytest.raises(
        ValueError, match="too small for one image .*Lower correlation.gpu_memory_gb"
    ):
        pieces._with_smaller_blocks(lambda block: compute(99), 1)


def test_workers_see_one_device_each_and_decompress_in_so_many_threads(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    with cluster.local_workers(2, 6) as client:
        seen = client.run(lambda: dict(__import__("os").environ))
    assert sorted(of["CUDA_VISIBLE_DEVICES"] for of in seen.values()) == ["GPU-a", "GPU-b"]
    assert {of["RAYON_NUM_THREADS"] for of in seen.values()} == {"6"}  # decompress


@pytest.mark.parametrize("there", [False, True])
def test_the_dashboard_is_shown_or_what_it_needs(monkeypatch, there):
    monkeypatch.setattr(cluster, "find_spec", lambda _: object() if there else None)
    with cluster.local_workers(1, 1) as client:
        shown = cluster.dashboard_of(client)
    assert shown.startswith("http://" if there else "pip install bokeh")
