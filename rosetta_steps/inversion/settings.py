"""How an inversion is done: everything that its result depends on besides images and models.

Defaults are those of config/config.yaml, with which Table 1 is made.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from rosetta_steps.config.options import check, setting
from rosetta_steps.inversion.forms import FORMS
from rosetta_steps.runtime.errors import UserError

SPACES = ("z", "w", "w+")
RECONSTRUCTIONS = ("none", "l1", "l2", "perceptual", "lpips")

# Pearson's correlation leaves out how strongly a unit fires, which is half of what it stands for.
# For three concepts of faces, 100 steps: the mean of the optimised map over positions was at the
# 54th to 91st percentile of the mined images (11 of 12 starts), with cosine at the 88th to 100th.
# The settings of a pair alone (eq. 5): no image is reconstructed.
DEFAULTS_OF_A_PAIR: dict[str, Any] = {
    "starts": 4,
    "beta": 1.0,
    "guidance_fraction": 1.0,
    "reconstruction": "none",
    "frames": 0,
}
CONCEPTS = 3  # visualised where none is named


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of an optimisation of latents (eq. 5 and 7).

    Raises:
        ValueError: One of them is none of its choices, out of its range or not finite.
    """

    space: str = setting("z", "space of the latents that are optimised", choices=SPACES)
    starts: int = setting(
        1, "random starts for each image; the best is kept", minimum=1, maximum=10_000
    )
    steps: int = setting(250, "optimisation steps, by Adam", minimum=1, maximum=10**7)
    learning_rate: float = setting(
        0.1, "maximum learning rate; it is ramped as in the paper", above=0, maximum=1000
    )
    similarity: str = setting("cosine", "form of L_act (eq. 6)", choices=tuple(FORMS))
    alpha: float = setting(0.01, "weight of L_reg", minimum=0, maximum=10**6)
    beta: float = setting(0.3, "weight of L_act", minimum=0, maximum=10**6)
    guidance_fraction: float = setting(
        0.5,
        "share of the steps in which L_act counts; the paper's is 1, all steps",
        above=0,
        maximum=1,
    )
    norm: str = setting(
        "l2", "norm in L_reg: mean of absolute values (l1) or of squares (l2)", choices=("l1", "l2")
    )
    regularise_to: str = setting(
        "prior",
        "point to which L_reg draws latents: the middle of their space, or the start",
        choices=("prior", "start"),
    )
    reconstruction: str = setting(
        "perceptual", "form of L_rec; with none the loss is that of eq. 5", choices=RECONSTRUCTIONS
    )
    perceptual_network: str = setting(
        "efficientnet-lite0",
        "model of the zoo whose features are compared if reconstruction is perceptual",
    )
    perceptual_size: int = setting(
        128,
        "height and width in pixels of the images that perceptual_network sees",
        minimum=16,
        maximum=4096,
    )
    truncation: float = setting(
        1.0, "truncation psi of the generator; 1 is none", minimum=0, maximum=1
    )
    seed: int = setting(0, "seed of the random starts, below 2^32", minimum=0, maximum=2**32 - 1)
    frames: int = setting(
        25,
        "steps of the best start whose latents are stored, for an animation",
        minimum=0,
        maximum=100_000,
    )

    def __post_init__(self):
        check(self)
        if self.guidance_fraction < 1 and self.reconstruction == "none":
            raise UserError(
                "guidance_fraction: below 1 needs a reconstruction, for the steps after it."
            )

    def attrs(self) -> dict:
        """For the attributes of a store."""
        return asdict(self)


def settings_named(known: dict) -> Settings:
    """Settings that are among other values, such as attributes of a store.

    Raises:
        ValueError: One is missing: the store is of another version.
    """
    if missing := [one.name for one in fields(Settings) if one.name not in known]:
        raise UserError(
            f"it says nothing of {missing[0]}: it was written by another version of rosetta_steps. "
            "Invert again."
        )
    return Settings(**{one.name: known[one.name] for one in fields(Settings)})
