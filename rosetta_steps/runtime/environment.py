"""Versions that a job on another machine must share with the process that submitted it."""

import os
import platform
import socket
import sys
from importlib.metadata import PackageNotFoundError, version

from rosetta_steps.runtime.errors import UserError

VARIABLE = "ROSETTA_STEPS_VERSIONS"
PACKAGES = ("torch", "numpy", "timm", "zarr", "xarray", "dask", "snakemake")


def versions() -> str:
    """Return Python's version and those of packages, without importing them."""
    return ", ".join([f"Python {platform.python_version()}", *map(version_of, PACKAGES)])


def version_of(package: str) -> str:
    """Return the name of a package and its version, or that it is not installed."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} is not installed"


def share_versions() -> None:
    """Put the versions into the environment, which jobs inherit."""
    os.environ[VARIABLE] = versions()


def refuse_other_versions() -> None:
    """Refuse to run where other versions are than where this job was submitted.

    Raises:
        ValueError: Some differ; the message names the machine, its Python and both versions.
    """
    wanted, there = os.environ.get(VARIABLE), versions()
    if wanted is None or wanted == there:
        return
    pairs = zip(wanted.split(", "), there.split(", "), strict=False)
    differing = [f"{one} and not {other}" for other, one in pairs if one != other]
    raise UserError(
        f"{socket.gethostname()} has {', '.join(differing) or there}: this job was submitted from "
        f"another environment than {sys.executable} is there. Build it once, in a folder that all "
        "nodes see."
    )
