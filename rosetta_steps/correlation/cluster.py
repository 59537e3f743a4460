"""Dask workers for the pieces: started by this job, or those of a running Dask cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import dask
from distributed import Client, KilledWorker, LocalCluster, Nanny, Scheduler, SpecCluster

from rosetta_steps.correlation.pieces import Job, identities, software
from rosetta_steps.runtime.at_start import AT_START
from rosetta_steps.runtime.devices import refuse_unusable_devices
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.digests import sha256_of

# So many workers, at most, are threads of this process: they start and end at once. More would wait
# for each other's Python.
TOGETHER = 6
ANSWER_SECONDS = 20  # to wait for a scheduler, and for a first worker


@contextmanager
def local_workers(count: int, threads: int, *, apart: bool = False) -> Iterator[Client]:
    """Start workers on this machine and yield a client.

    A few workers are threads of this process.

    Args:
        count: Number of workers, unless several CUDA devices are leased: then each gets one worker.
        threads: Number of threads of each worker.
        apart: Whether each needs a process of its own, as those do that run models.
    """
    apart = apart or count > TOGETHER
    devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d.strip()]
    # Thread pools and the memory allocator read these variables when a process starts.
    before_start = {"distributed.nanny.pre-spawn-environ": environment_of_a_worker(threads)}
    # Dask's profiler looks at every thread a hundred times a second, for its dashboard.
    without_profiler = {"distributed.worker.profile.enabled": False}
    with (
        dask.config.set(before_start | without_profiler),
        _one_a_device(devices) if len(devices) > 1 else _local(count, apart) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Context in which workers that are killed repeatedly end in advice.

    Args:
        doing: What the workers do, for the message.

    Raises:
        ValueError: Worker processes were killed repeatedly.
    """
    try:
        yield
    except KilledWorker as error:
        raise UserError(
            f"{doing}: worker processes died again and again, most likely for want of memory. "
            "Lower correlation.memory_gb or images_per_block in the config, or give the job fewer "
            "cores; finished pieces are kept."
        ) from error


def dashboard_of(client: Client) -> str:
    """Return the dashboard's address, or how to install bokeh, without which there is none."""
    own = client.cluster is not None
    return "pip install bokeh" if own and find_spec("bokeh") is None else client.dashboard_link


def _local(count: int, apart: bool) -> LocalCluster:
    return LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        dashboard_address=":0",  # any free port, because several jobs may run
        memory_limit=None,
        processes=apart and count > 1,
    )


def _one_a_device(devices: list[str]) -> SpecCluster:
    return SpecCluster(
        {
            device: {
                "cls": Nanny,
                "options": {
                    "nthreads": 1,
                    "memory_limit": None,
                    "env": {"CUDA_VISIBLE_DEVICES": device},
                },
            }
            for device in devices
        },
        scheduler={"cls": Scheduler, "options": {"dashboard_address": ":0"}},
    )


def environment_of_a_worker(threads: int) -> dict[str, str]:
    """Return the environment variables of a worker that uses a number of threads."""
    # Without the allocator's, Dask would make workers return freed memory to the system at once.
    return {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)} | AT_START


@contextmanager
def workers_at(address: str, job: Job, scratch: Path) -> Iterator[Client]:
    """Connect to a running scheduler and yield a client, after comparing workers with this process.

    Args:
        address: Address of the scheduler, such as tcp://node1:8786.
        job: Job whose stores the workers must see.
        scratch: Folder that the workers must be able to write to.

    Raises:
        ValueError: No scheduler answers, it has no worker, a worker has more than one thread, or a
            worker sees other files or other versions of packages.
    """
    try:
        client = Client(address, timeout=ANSWER_SECONDS)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {address} ({error}). Start one (dask scheduler), give "
            "its address as correlation.scheduler, or leave that out for workers on this machine."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=ANSWER_SECONDS)
        except TimeoutError:
            raise UserError(
                f"the Dask scheduler at {address} has no workers. Start some, each in this "
                f"environment and in {Path.cwd()}: dask worker {address} --nthreads 1"
            ) from None
        if crowded := [worker for worker, threads in client.nthreads().items() if threads > 1]:
            raise UserError(
                f"the worker at {crowded[0]} would compute several pieces in one process, more "
                "than memory_gb is meant for: start it with --nthreads 1."
            )
        refuse_other_workers(client, job, scratch)
        yield client


def refuse_other_workers(client: Client, job: Job, scratch: Path, *, devices: bool = False) -> None:
    """Refuse workers that see other files or versions than this process, or no GPU.

    Args:
        client: Client of the workers.
        job: Job whose stores the workers must see.
        scratch: Folder that the workers must be able to write to.
        devices: Whether each worker must have a GPU that torch can use.

    Raises:
        ValueError: Something differs; the message names the worker, the difference and the remedy.
    """
    own = seen(job.paths, str(scratch))
    found = client.run(seen, job.paths, str(scratch), devices, on_error="return")
    for worker, of_worker in found.items():
        refuse_differences(worker, of_worker, own)


def seen(paths: list[str], scratch: str, devices: bool = False) -> dict[str, str]:
    """Return versions and digests of files that this process sees, for comparison with others.

    Args:
        paths: Paths of the maps and moments.
        scratch: Folder of the pieces.
        devices: Whether the process must have a GPU.

    Raises:
        ValueError: It has none that torch can use.
    """
    if devices:
        refuse_unusable_devices()
    return {
        **dict(found.split(" ", 1) for found in software()),
        **dict(zip(paths, identities(paths), strict=True)),
        scratch: sha256_of(Path(scratch) / "of.json") if os.access(scratch, os.W_OK) else "none",
    }


def refuse_differences(worker: str, found: dict[str, str] | Exception, own: dict[str, str]) -> None:
    """Refuse a worker that sees other files or versions than this process.

    Raises:
        ValueError: Something differs; the message names the worker, the difference and the remedy.
    """
    if isinstance(found, UserError):
        raise found
    if isinstance(found, OSError):  # Dask's word for a connection that closed is one
        raise UserError(
            f"the worker at {worker} ended while it was asked what it sees ({found}). Its log says "
            "why; if it ran out of memory, raise correlation.memory_gb in the config."
        )
    if isinstance(found, Exception):
        raise UserError(
            f"the worker at {worker} cannot run rosetta_steps ({found}). Start it in this "
            f"environment: {os.path.dirname(os.__file__)}"
        )
    for name, value in own.items():
        if found.get(name) != value:
            is_file = "/" in name or name.endswith(".zarr")
            remedy = (
                f"Start it in {Path.cwd()}, on a file system that all machines share."
                if is_file
                else "Start it in the same environment."
            )
            raise UserError(
                f"the worker at {worker} sees another {name} than this process "
                f"({found.get(name) or 'none'}, not {value}). {remedy}"
            )
