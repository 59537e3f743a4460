"""Settings of stores of maps."""

from dataclasses import dataclass

from rosetta_steps.config.options import check, setting

ALL, MATCHED = "all", "matched"


@dataclass(frozen=True)
class Storing:
    """Settings of stores of maps.

    Raises:
        ValueError: A setting is none of its choices or out of its range.
    """

    store: str = setting(
        ALL, "every unit's maps, or those of units in best buddies", choices=(ALL, MATCHED)
    )
    dtype: str = setting("float16", "of the stored maps", choices=("float16", "float32"))
    images_per_shard: int = setting(32, "images in a file", least=1, most=65536)

    def __post_init__(self):
        check(self)
