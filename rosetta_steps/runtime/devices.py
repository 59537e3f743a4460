"""Exclusive CUDA devices for each job on this machine.

Snakemake counts the resource `gpu` but does not say which device a job gets. So a job locks as many
of the visible devices as it wants and hides the others (CUDA_VISIBLE_DEVICES) before torch is
imported. The operating system releases the locks when the process ends.
"""

import fcntl
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TextIO

from rosetta_steps.runtime.errors import UserError

_held: list[TextIO] = []


def visible_devices() -> list[str]:
    """Return the devices in CUDA_VISIBLE_DEVICES, or all that nvidia-smi lists if that is unset."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device for device in named.split(",") if device.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.split() if listed.returncode == 0 else []


def installed_devices() -> int:
    """Count the NVIDIA devices in this machine, from /proc, without starting another program."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def lease(poll_seconds: float = 2.0, count: int = 1) -> str:
    """Lock devices until this process ends, and wait until enough are free.

    Args:
        poll_seconds: Seconds between two attempts.
        count: Number of devices, which are locked all at once or not at all. If the machine has
            fewer, all of them are locked. 0 hides all devices.

    Returns:
        "cuda" with CUDA_VISIBLE_DEVICES set to the locked devices, or "cpu" if there is no device.

    Raises:
        ValueError: torch cannot use the devices.
    """
    if _held:
        return "cuda"
    devices = visible_devices()
    if count == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if not devices or count == 0:
        return "cpu"
    folder = _folder_of_locks()
    folder.mkdir(exist_ok=True)
    count, told = min(count, len(devices)), False
    while True:
        locks = {device.strip(): _lock(folder, device.strip()) for device in devices}
        free = [device for device, file in locks.items() if file is not None]
        for device in free[count:] if len(free) >= count else free:
            locks[device].close()
        if len(free) >= count:
            _held.extend(locks[device] for device in free[:count])
            os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(free[:count])
            refuse_unusable_devices()
            return "cuda"
        if not told:
            taken = len(devices) - len(free)
            print(
                f"{taken} of {len(devices)} CUDA devices are taken: waiting for {count} to be free",
                file=sys.stderr,
            )
            told = True
        time.sleep(poll_seconds * random.uniform(0.5, 1))  # jobs in step would block each other


def refuse_unusable_devices() -> None:
    """Refuse devices that are visible but that torch cannot use.

    Raises:
        ValueError: They cannot be used; the message has the build of torch, what the driver says,
            and what to do.
    """
    import torch

    with warnings.catch_warnings(record=True) as told:  # of an old driver torch only warns
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if usable:
        return
    reason = " ".join(str(told[0].message).split()) if told else ""
    try:
        torch.zeros(1, device="cuda")
    except (RuntimeError, AssertionError) as error:
        reason = reason or str(error).splitlines()[0]
    reason = reason.rstrip(".") + "."
    build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for the processor alone"
    raise UserError(
        f"{socket.gethostname()}: this job was given the GPU {os.environ['CUDA_VISIBLE_DEVICES']}, "
        f"and torch {torch.__version__} (built {build}) cannot use it: {reason} Install the build "
        "of torch that fits the driver (nvidia-smi tells its CUDA), or set `device: cpu` in the "
        "config."
    )


def _folder_of_locks() -> Path:
    # Of two Slurm jobs on a node, each may see its own device as number 0.
    job = os.environ.get("SLURM_JOB_ID", "")
    name = f"rosetta_steps-devices-{os.getuid()}{'-' if job else ''}{job}"
    return Path(tempfile.gettempdir()) / name


def _lock(folder: Path, device: str):
    file = (folder / f"{device.replace('/', '_')}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
