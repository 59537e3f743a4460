"""Dask workers that are Slurm jobs, started and ended with a correlation (dask-jobqueue).

They are submitted under the account and the partition of the job that starts them. A worker that
is cancelled, killed or loses its node costs the piece that it computed, and another is submitted.
When this process ends, however it ends, its workers end as well: they are cancelled, or end by
themselves a minute after they have lost it.
"""

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from distributed import Client
from tqdm import tqdm

from rosetta_steps.correlation.cluster import environment_of_a_worker, refuse_other_workers
from rosetta_steps.correlation.pieces import Job
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.runtime.needs import MINUTES, OF_A_GPU_WORKER
from rosetta_steps.runtime.slurm import (
    WORKERS,
    Asked,
    jobs_there,
    refuse_script,
    refuse_what_cannot_run,
)

LOGS = Path("logs/dask_workers")
# Seconds after which a worker ends that has lost its scheduler.
LOST_SECONDS = 60
POLL_SECONDS, LOOK_POLLS = 0.2, 25  # Slurm itself is asked every 5 seconds


def asked_by_workers(settings: Correlation) -> Asked:
    """Return what the Slurm job of some workers asks for.

    Args:
        settings: Settings of the correlation.
    """
    each = OF_A_GPU_WORKER if settings.gpus else settings.memory_gb
    return Asked(
        job="a job of correlation.workers_per_job Dask workers",
        partition=os.environ.get("SLURM_JOB_PARTITION", ""),
        cores=settings.workers_per_job * settings.threads_per_worker,
        memory_mb=math.ceil(1000 * each * settings.workers_per_job),
        gpus=min(1, settings.gpus),
        minutes=_minutes(),
    )


@contextmanager
def slurm_workers(settings: Correlation, job: Job, scratch: Path, title: str) -> Iterator[Client]:
    """Submit workers, wait for the first, and yield a client.

    Args:
        settings: Settings of the correlation; slurm_jobs and workers_per_job say how many.
        job: Job whose stores the workers must see.
        scratch: Folder that the workers must be able to write to.
        title: Name of the folder of their logs in LOGS.

    Raises:
        ValueError: dask-jobqueue or Slurm is not there, no node can run such a job, all jobs ended
            before a worker was there, or one sees other files or other versions of packages.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise UserError(
            "correlation.scheduler is slurm, which needs dask-jobqueue: pip install -e '.[slurm]'."
        ) from None
    if settings.gpus and settings.workers_per_job > 1:
        raise UserError(
            f"correlation.workers_per_job is {settings.workers_per_job}: a Slurm job with a GPU "
            "has one worker. Set it to 1 and raise slurm_jobs, or set gpus: 0."
        )
    asked = asked_by_workers(settings)
    refuse_what_cannot_run([asked])
    logs = LOGS / title
    logs.mkdir(parents=True, exist_ok=True)
    variables = environment_of_a_worker(settings.threads_per_worker)
    variables |= {} if settings.gpus else {"CUDA_VISIBLE_DEVICES": ""}
    with (
        SLURMCluster(
            queue=asked.partition or None,
            account=os.environ.get("SLURM_JOB_ACCOUNT"),
            job_name=f"{WORKERS}{title}",
            cores=settings.workers_per_job,
            processes=settings.workers_per_job,
            job_cpu=asked.cores,
            memory=f"{asked.memory_mb}MB",
            job_mem=f"{asked.memory_mb}M",
            walltime=f"{asked.minutes // 60}:{asked.minutes % 60:02}:00",
            job_extra_directives=["--gres=gpu:1"] if asked.gpus else [],
            job_script_prologue=[f"export {name}='{value}'" for name, value in variables.items()],
            # What a worker may take is Slurm's to say; Dask would restart one that is near it.
            worker_extra_args=["--memory-limit", "0", "--no-dashboard"],
            death_timeout=LOST_SECONDS,
            log_directory=str(logs),
            local_directory=os.environ.get("TMPDIR", "/tmp"),
            python=sys.executable,
            scheduler_options={"dashboard_address": ":0"},
        ) as cluster,
        Client(cluster) as client,
    ):
        refuse_script(cluster.job_script())  # dask-jobqueue would go on without workers
        # Not a fixed number of jobs: one that ends before its time is submitted again.
        cluster.adapt(minimum_jobs=settings.slurm_jobs, maximum_jobs=settings.slurm_jobs)
        print(
            f"  {settings.slurm_jobs} Slurm jobs of {asked.cores} cores and {asked.memory_mb} MB "
            f"with {settings.workers_per_job} workers each; their logs: {logs}",
            flush=True,
        )
        _wait_for_one(cluster, logs)
        refuse_other_workers(client, job, scratch, devices=bool(settings.gpus))
        yield client


def _wait_for_one(cluster: Any, logs: Path) -> None:
    # dask-jobqueue waits for ever for a job that ended before its worker was there.
    bar_format = "{desc}: {elapsed}"
    with tqdm(desc="waiting for Slurm to start workers", bar_format=bar_format, leave=False) as bar:
        for poll in count(1):
            if cluster.scheduler_info["workers"]:
                return
            submitted = {job.job_id for job in cluster.workers.values() if job.job_id}
            if poll % LOOK_POLLS == 0 and submitted and not jobs_there(submitted):
                refuse_ended_jobs(submitted, logs)
            time.sleep(POLL_SECONDS)
            bar.refresh()


def refuse_ended_jobs(jobs: Iterable[str], logs: Path) -> None:
    """Refuse jobs of workers of which none ever connected.

    Args:
        jobs: Their numbers.
        logs: Folder of their logs.

    Raises:
        ValueError: Always; the message has the end of a log, or that there is none.
    """
    number = max(jobs, key=int)
    files = sorted(logs.glob(f"*{number}.err"))
    lines = [line.strip() for file in files for line in file.read_text().splitlines()]
    said = f"ends: {lines[-1]}" if lines else f"says nothing. Does its node see {Path.cwd()}?"
    raise UserError(
        f"Slurm's job {number} of Dask workers ended before a worker had connected; its log "
        f"({files[0] if files else logs}) {said}"
    )


def _minutes() -> int:
    if end := os.environ.get("SLURM_JOB_END_TIME"):
        return max(1, min(MINUTES, math.ceil((int(end) - time.time()) / 60)))
    return MINUTES
