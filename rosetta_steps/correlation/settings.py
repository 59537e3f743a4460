"""Settings of the correlation step."""

from dataclasses import dataclass

from rosetta_steps.config.options import check, setting

# Precisions of the products; correlation.precision explains their rounding.
PRECISIONS = ("float32", "tf32", "bfloat16", "float64")
NO_SCHEDULER = "none"


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Settings of a correlation (eq. 2).

    The numbers of a table follow from `precision` alone, those of decoys also from the images that
    are read at once.

    Raises:
        ValueError: A setting is none of its choices or out of its range.
    """

    images_per_strip: int = setting(
        96, "images in a piece of work, done again if a worker dies", least=1, most=10**7
    )
    images_per_block: int = setting(
        32, "images read at once, fewer where memory asks for it", least=1, most=10**7
    )
    threads_per_worker: int = setting(1, "cores of a worker", least=1, most=4096)
    memory_gb: float = setting(2.0, "GB that a worker may take", above=0, most=10**6)
    gpus: int = setting(1, "of a job, where there are some: a worker on each", least=1, most=1024)
    gpu_memory_gb: float = setting(16.0, "GB that a worker may take of a GPU", above=0, most=10**6)
    splits: int = setting(
        1, "parts of the images correlated besides, at least 2 images each", least=1, most=1000
    )
    decoys: int = setting(
        1, "tables with images moved, against which best buddies are tested", least=0, most=100
    )
    precision: str = setting("float32", "of the products", choices=PRECISIONS)
    scheduler: str = setting(
        NO_SCHEDULER,
        "address of a running Dask scheduler, such as tcp://node1:8786",
        pattern=r"^(none|[a-z]+://[^\s{}]+)$",
    )

    def __post_init__(self):
        check(self)
