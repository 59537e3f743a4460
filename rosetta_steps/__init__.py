"""Mine Rosetta neurons: the units that different vision models share.

open_model, open_generator   models of the zoo, images in and labelled maps out
open_results                 what the workflow made of a sample set, checked, lazy, labelled
open_bundle                  the same of a dictionary that somebody published
testing                      factories for tests of loaders and sources of maps
"""

import importlib
from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__", "open_bundle", "open_generator", "open_model", "open_results", "testing"]

try:
    __version__ = version("rosetta_steps")
except PackageNotFoundError:  # read from a folder, not installed
    __version__ = "unknown"

# Imported when they are first asked for, as torch takes seconds.
_HOMES = {
    "open_bundle": "rosetta_steps.sharing.opening",
    "open_generator": "rosetta_steps.zoo.opening",
    "open_model": "rosetta_steps.zoo.opening",
    "open_results": "rosetta_steps.workflow.results",
}


def __getattr__(name: str):
    if name == "testing":
        return importlib.import_module("rosetta_steps.testing")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
