"""Settings of the correlation step."""

from dataclasses import dataclass

from rosetta_steps.config.options import check, setting
from rosetta_steps.correlation.similarities import SIMILARITIES

# Precisions of the products; correlation.precision explains their rounding.
PRECISIONS = ("float32", "tf32", "bfloat16", "float64")
NO_SCHEDULER = "none"
SLURM = "slurm"


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Settings of a correlation (eq. 2).

    The numbers of a table follow from `precision` alone, those of decoys also from the images that
    are read at once.

    Raises:
        ValueError: A setting is none of its choices or out of its range.
    """

    images_per_strip: int = setting(
        96,
        "images in a piece of work, which is done again if a worker dies",
        minimum=1,
        maximum=10**7,
    )
    images_per_block: int = setting(
        32, "images read at once; fewer if they do not fit into memory", minimum=1, maximum=10**7
    )
    threads_per_worker: int = setting(1, "cores that a worker uses", minimum=1, maximum=4096)
    memory_gb: float = setting(
        2.0, "gigabytes of memory that a worker may take", above=0, maximum=10**6
    )
    gpus: int = setting(
        1,
        "GPUs of a job on a machine with GPUs, a worker on each; 0: none",
        minimum=0,
        maximum=1024,
    )
    gpu_memory_gb: float = setting(
        16.0, "gigabytes of GPU memory that a worker may take", above=0, maximum=10**6
    )
    splits: int = setting(
        1,
        "parts of the images that are also correlated each alone; a part has at least 2 images",
        minimum=1,
        maximum=1000,
    )
    similarity: str = setting(
        "pearson",
        "what is mined: the paper's correlation, or that of what is left without mean maps",
        choices=tuple(SIMILARITIES),
    )
    decoys: int = setting(
        1,
        "tables with images moved, by which best buddies are tested against chance",
        minimum=0,
        maximum=100,
    )
    precision: str = setting("float32", "precision of the matrix products", choices=PRECISIONS)
    scheduler: str = setting(
        NO_SCHEDULER,
        "address of a running Dask scheduler, such as tcp://node1:8786; slurm: Slurm's jobs",
        pattern=r"^(none|slurm|[a-z]+://[^\s{}]+)$",
    )
    slurm_jobs: int = setting(
        2, "Slurm jobs of Dask workers, where the scheduler is slurm", minimum=1, maximum=1000
    )
    workers_per_job: int = setting(
        1,
        "workers of such a job, each of threads_per_worker cores and memory_gb gigabytes",
        minimum=1,
        maximum=1024,
    )

    def __post_init__(self):
        check(self)
