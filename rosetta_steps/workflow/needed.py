"""What rules ask for: cores, GPUs, memory and minutes of a job.

On one machine these are bounds that `--resources` may set; on Slurm they are what a job is
submitted with. For the second try of a job twice as much is asked, for the third three times.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rosetta_steps.config.names import split_untrained
from rosetta_steps.correlation.settings import SLURM
from rosetta_steps.maps.settings import SUM_BYTES
from rosetta_steps.runtime.budgets import available_bytes
from rosetta_steps.runtime.devices import installed_devices, visible_devices
from rosetta_steps.runtime.needs import (
    MINUTES,
    OF_A_GPU_WORKER,
    USUAL,
    memory_of_a_correlation,
    read_needs,
)
from rosetta_steps.workflow.rules import Rules

# Megabytes of inversions and edits beside their maps.
BESIDE_MAPS = 3000
# Steps whose memory a plan knows, by the model that runs.
PLANNED = ("activations", "streams", "moments")
# Steps that take no longer than to run the model and write its maps, whose minutes a plan knows.
TIMED = (*PLANNED, "matched_maps", "image_sums")
# Kinds of artefacts of which steps bear another name.
KIND = {"correlation": "correlations", "streams": "stream"}


class Needs:
    """Needs of the jobs of a checked config.

    Args:
        rules: What the rules of the config take.
        cores: Cores of all jobs together.
        here: Whether the jobs run on this machine, side by side.
        asked: Gives the files and rules that are asked for, which Snakemake knows late.

    Attributes:
        most: Megabytes and minutes that a job may ask for at most, however often it was tried.
        on_a_gpu: Whether jobs ask for GPUs.
    """

    def __init__(
        self,
        rules: Rules,
        cores: int = 1,
        *,
        here: bool = False,
        asked: Callable[[], list[str]] = list,
    ):
        self.rules, self.config, self.all_cores, self.here = rules, rules.config, cores, here
        self.asked, self._halved = asked, dict[tuple[str, str], bool]()
        self.most: tuple[float, float] = (math.inf, math.inf)
        devices = installed_devices() or len(visible_devices())
        self.on_a_gpu = self.config.get("device", "auto") != "cpu" and (devices > 0 or not here)
        self.devices = max(1, devices) if self.on_a_gpu else 1

    def cores(self, devices: int = 1) -> int:
        """Cores of a heavy job: all, shared where several devices run jobs side by side.

        Args:
            devices: That the job takes where jobs take any; 0: it runs on the processor.
        """
        shared = self.devices if devices else 1
        return max(1, self.all_cores * max(1, min(devices, shared)) // shared)

    def cores_beside(self, step: str) -> Callable[[Any], int]:
        """Cores of a job that leaves half of them to another, as a function of its wildcards.

        On a processor with the memory for both, where the step is to be done for several models:
        while one starts or waits, the other computes, and fewer threads wait for each other less.

        Args:
            step: As `memory` has it.
        """

        def cores(wildcards: Any) -> int:
            name = wildcards.sample_set
            if step == "correlation" and self.workers_apart:
                return 1
            if step == "matched_maps" and not self.rules.runs_model(name, wildcards.model):
                return 1  # they are copied
            devices = self._devices_of(step, wildcards)
            whole = self.cores(devices)
            half = max(1, whole // 2)
            if (self.on_a_gpu and devices) or not self.here:
                return whole
            if (step, name) not in self._halved:  # decided once, before jobs take memory
                together = whole // half * self.memory(step)(wildcards, attempt=1, threads=half)
                several = self.rules.several_stale(KIND.get(step, step), name, self.asked())
                self._halved[step, name] = several and 1e6 * together <= available_bytes()
            return half if self._halved[step, name] else whole

        return cores

    def _devices_of(self, step: str, wildcards: Any) -> int:
        if step == "correlation":
            return self.config["correlation"]["gpus"]
        # Sums over images read what is stored, unless models run.
        return int(step != "image_sums" or self.rules.runs(wildcards.sample_set))

    @property
    def workers_apart(self) -> bool:
        """Whether the Dask workers of a correlation are Slurm jobs of their own."""
        return self.config["correlation"].get("scheduler") == SLURM

    def gpus(self, count: int = 1) -> int:
        """Number of GPUs of a job that takes some."""
        return count * self.on_a_gpu

    def memory(self, step: str) -> Callable[..., int]:
        """Megabytes of a job, as a function of its wildcards, threads and attempt.

        Args:
            step: Name of the rule; one of USUAL, "correlation", or of a rule with a budget of its
                own, "inversion".
        """

        def megabytes(wildcards: Any, attempt: int, threads: int) -> int:
            if step == "correlation":
                once = self._of_a_correlation(wildcards, threads)
            elif step == "inversion":
                once = BESIDE_MAPS + round(1000 * self.config["inversion"]["memory_gb"])
            elif step in PLANNED:
                once = self._planned(wildcards, "memory_mb", USUAL[step])
            else:
                once = USUAL[step]
            return int(min(attempt * once, max(once, self.most[0])))

        return megabytes

    def minutes(self, step: str) -> Callable[..., int]:
        """Minutes that a job may take, as a function of its wildcards and attempt.

        Args:
            step: As `memory` has it.
        """

        def minutes(wildcards: Any, attempt: int) -> int:
            once = self._planned(wildcards, "minutes", MINUTES) if step in TIMED else MINUTES
            return int(min(attempt * once, max(once, self.most[1])))

        return minutes

    def _planned(self, wildcards: Any, key: str, usual: int) -> int:
        model = getattr(wildcards, "model", None) or wildcards.b
        return self._of(wildcards.sample_set, model).get(key, usual)

    def _of(self, sample_set: str, model: str) -> Mapping[str, int]:
        plan = read_needs(Path(f"results/plans/{sample_set}.json"))
        return plan.get(split_untrained(model)[0], {})

    def _of_a_correlation(self, wildcards: Any, threads: int) -> int:
        settings = self.config["correlation"]
        a, b = (
            self._of(wildcards.sample_set, model).get("units", 0)
            for model in (wildcards.a, wildcards.b)
        )
        of_workers, workers = 0.0, 0
        if not self.workers_apart:
            # Whether the job meets a GPU is not known here.
            workers = max(1, threads // settings["threads_per_worker"])
            of_gpus = OF_A_GPU_WORKER * self.gpus(settings["gpus"])
            of_workers = max(settings["memory_gb"] * workers, of_gpus)
        return memory_of_a_correlation(
            of_workers,
            settings["memory_gb"],
            settings["splits"] + self.rules.decoys(wildcards.a, wildcards.b),
            (a, b) if a and b else None,
            self._of_moments(wildcards, workers),
        )

    def _of_moments(self, wildcards: Any, workers: int) -> float:
        name, b = wildcards.sample_set, wildcards.b
        if not self.rules.runs(name):
            return 0
        sums, most = self._of(name, b).get("sums_mb", 0), SUM_BYTES / 1e6
        # Three of the job: the total, a piece or the moments, and what is written of it.
        return (3 + workers) * sums if sums <= most else most
