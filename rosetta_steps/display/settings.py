"""Settings of figures."""

from dataclasses import dataclass

from rosetta_steps.config.options import check, setting


@dataclass(frozen=True)
class Figures:
    """Settings of figure 3.

    Raises:
        ValueError: A setting is out of its range.
    """

    concepts: int = setting(4, "concepts that figure 3 shows", minimum=1, maximum=1000)
    images: int = setting(3, "images that figure 3 shows of each concept", minimum=1, maximum=1000)

    def __post_init__(self):
        check(self)
