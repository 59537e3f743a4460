"""How the evidence of matches is computed and judged."""

from dataclasses import dataclass

from rosetta_steps.config.options import check, setting

FEWEST_IMAGES = 20  # below which drawing images again says little


@dataclass(frozen=True)
class Evidence:
    """Settings of the evidence of best buddies.

    Raises:
        ValueError: One of them is out of its range.
    """

    level: float = setting(
        0.05, "largest q-value of a pair that counts as above chance", above=0, maximum=1
    )
    resamples: int = setting(
        1000,
        "bootstrap draws of the images, from which intervals follow",
        minimum=100,
        maximum=10**6,
    )

    spread: bool = setting(
        False,
        "whether pairs are held against rotated bases and linear readouts of the model's layers, "
        "for which covariances of their units are computed",
    )

    def __post_init__(self):
        check(self)
