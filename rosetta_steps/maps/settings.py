"""Settings of stores of maps."""

from dataclasses import dataclass

from rosetta_steps.config.options import check, setting

ALL, MATCHED = "all", "matched"
# Of the sums for moments that are in memory together.
SUM_BYTES = 1.5e9


@dataclass(frozen=True)
class Storing:
    """Settings of stores of maps.

    Raises:
        ValueError: A setting is none of its choices or out of its range.
    """

    store: str = setting(
        ALL, "units whose maps are stored: all, or those in best buddies", choices=(ALL, MATCHED)
    )
    dtype: str = setting(
        "float16", "floating-point type of the stored maps", choices=("float16", "float32")
    )
    images_per_shard: int = setting(32, "images in one file of a store", minimum=1, maximum=65536)

    def __post_init__(self):
        check(self)
