"""Memory and minutes that a job needs: what a cluster is asked for and a plan prints.

A plan (rosetta_steps.plan) writes them of every model. What is asked for where there is none yet,
and of jobs that no plan knows, stands here.
"""

import json
from collections.abc import Mapping
from pathlib import Path

# Megabytes of a process with torch and a small network.
PROCESS = 1500
# Megabytes that a job asks for without a plan. `faces` (800 images, three models, two cores) took
# 880 to sample, 2760 to dump, 850 for matched maps, 1800 for image sums, 670 for evidence and 2200
# for permutations; covariances, parts, interventions and tables were not measured.
USUAL = {
    "sampling": 3000,
    "activations": 4000,
    "streams": 3000,
    "moments": 4000,
    "matched_maps": 3000,
    "image_sums": 4000,
    "covariances": 6000,
    "evidence": 3000,
    "permutations": 4000,
    "parts": 6000,
    "intervention": 4000,
    "word_scores": 4000,
    "inversion_table": 4000,
}
# Gigabytes of main memory of a Dask worker on a GPU.
OF_A_GPU_WORKER = 4.0
MINUTES = 240  # of a job whose plan is not made yet
# A plan's minutes are of two cores of a fast machine; a job is let take several times as long.
SLOWER, FEWEST_MINUTES = 4, 20


def memory_of_a_dump(file_bytes: float, sums_bytes: float) -> int:
    """Return megabytes of the job that runs a model and writes its maps and moments.

    Args:
        file_bytes: Bytes of the largest file of maps: of all layers and the images of a shard. As
            many are computed, converted, compressed and written at the same time.
        sums_bytes: Bytes of the sums of moments that are in memory together.
    """
    return round(PROCESS + 5 * file_bytes / 1e6 + 2 * sums_bytes / 1e6)


def memory_of_a_correlation(
    of_workers: float,
    worker_gb: float,
    sums_a_pair: int,
    units: tuple[int, int] | None,
    moments_mb: float = 0,
) -> int:
    """Return megabytes of a correlation with its workers on the same machine.

    Args:
        of_workers: Gigabytes of all workers on the machine.
        worker_gb: Gigabytes that a worker may take, into which the sums of a tile fit.
        sums_a_pair: Number of sums of a pair of units: splits and decoys.
        units: Units of both models; None where no plan knows them.
        moments_mb: Megabytes of the sums for moments that it takes, in all processes.
    """
    together = 1000 * worker_gb
    if units is not None:
        # A tile is put together in float64, and its tables beside it.
        together = min(3 * together, 16e-6 * sums_a_pair * units[0] * units[1])
    return round(PROCESS + 1000 * of_workers + together + moments_mb)


def minutes(seconds: float) -> int:
    """Return the minutes that a job is let take whose plan expects some seconds."""
    return max(FEWEST_MINUTES, -(-int(SLOWER * seconds) // 60))


def read_needs(plan: Path) -> Mapping[str, Mapping[str, int]]:
    """Return what a plan says of each model (maps.plan); nothing if there is none.

    Args:
        plan: results/plans/{sample_set}.json.
    """
    try:
        models = json.loads(plan.read_text(encoding="utf-8"))["models"]
        return {
            str(name): {key: int(value) for key, value in of_model.items()}
            for name, of_model in models.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
