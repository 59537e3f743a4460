"""What the user asked of Snakemake, and what has to be made for it whatever Snakemake knows."""

from collections.abc import Callable
from typing import Any

DEFAULT = "dictionary"


def targets_of(dag_settings) -> list[str]:
    """Files and rules that are asked for: those typed, or the default target."""
    return sorted(dag_settings.targets) or [DEFAULT]


def force(workflow, files_of: Callable[[list[str]], set[str]]) -> None:
    """Have Snakemake make some files besides what it would make itself.

    Snakemake says what is asked for after it has read the workflow: it then sets `dag_settings`, of
    which `forcerun` is what `--forcerun` gives. In the processes of jobs nothing is forced.

    Args:
        workflow: Snakemake's, while its Snakefile is read.
        files_of: Targets to files that have to be made on the way to them.
    """

    kind: Any = type(workflow)

    class Asked(kind):
        def __setattr__(self, name, value):
            if name == "dag_settings" and value is not None and self.is_main_process:
                value.forcerun = {*value.forcerun, *files_of(targets_of(value))}
            super().__setattr__(name, value)

    workflow.__class__ = Asked
