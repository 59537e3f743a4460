"""A CUDA device of its own for each job on this machine.

Snakemake counts `gpu` but does not say which one. A job takes a lock on one of the visible
devices, which dies with the process, and hides the others before torch is imported.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_held = []


def visible_devices() -> list[str]:
    """Devices this process may use: CUDA_VISIBLE_DEVICES, else what nvidia-smi lists."""
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
    """Number of NVIDIA devices in this machine, known without starting anything."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def lease(poll_seconds: float = 2.0) -> str:
    """Take a device for the life of this process, waiting until one is free.

    Returns:
        "cuda" with CUDA_VISIBLE_DEVICES set to the device taken, or "cpu" where there is none.
    """
    if _held:
        return "cuda"
    devices = visible_devices()
    if not devices:
        return "cpu"
    folder = Path(tempfile.gettempdir()) / f"rosetta_steps-devices-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    told = False
    while True:
        for device in devices:
            file = (folder / f"{device.strip().replace('/', '_')}.lock").open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            _held.append(file)
            os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
            os.environ["CUDA_VISIBLE_DEVICES"] = device.strip()
            return "cuda"
        if not told:
            print(f"all {len(devices)} CUDA devices are taken: waiting for one", file=sys.stderr)
            told = True
        time.sleep(poll_seconds)
