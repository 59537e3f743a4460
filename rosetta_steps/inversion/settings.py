"""How an inversion is done: everything that its result depends on besides images and models."""

import argparse
import math
from dataclasses import asdict, dataclass, field, fields

from rosetta_steps.inversion.latents import SPACES
from rosetta_steps.inversion.similarity import FORMS
from rosetta_steps.runtime.errors import UserError

RECONSTRUCTIONS = ("none", "l1", "l2", "perceptual", "lpips")


def _setting(default, words: str, choices=None):
    return field(default=default, metadata={"help": words, "choices": choices})


@dataclass(frozen=True)
class Settings:
    """Settings of an optimisation of latents (eq. 5 and 7).

    Raises:
        ValueError: One of them is none of its choices, out of its range or not finite.
    """

    space: str = _setting("z", "space of the latent", SPACES)
    starts: int = _setting(1, "random starts of each image, the best of which is kept")
    steps: int = _setting(250, "of Adam")
    learning_rate: float = _setting(0.05, "the highest; ramped as in the paper")
    similarity: str = _setting("pearson", "form of L_act", tuple(FORMS))
    alpha: float = _setting(0.1, "weight of L_reg")
    beta: float = _setting(1.0, "weight of L_act")
    guided: float = _setting(1.0, "share of the steps in which L_act counts")
    norm: str = _setting("l2", "of L_reg: mean of absolute values or of squares", ("l1", "l2"))
    towards: str = _setting(
        "prior", "what L_reg draws to: the middle of the space, or the start", ("prior", "start")
    )
    reconstruction: str = _setting("none", "L_rec", RECONSTRUCTIONS)
    perceptual_network: str = _setting("efficientnet-lite0", "of L_rec: perceptual")
    perceptual_size: int = _setting(128, "pixels a side of what that network sees")
    truncation: float = _setting(1.0, "psi of the generator")
    seed: int = _setting(0, "of the random starts")
    frames: int = _setting(0, "latents kept on the way of the best start, for an animation")

    def __post_init__(self):
        for one in fields(self):
            value, choices = getattr(self, one.name), one.metadata["choices"]
            if choices and value not in choices:
                raise UserError(f"{one.name}: '{value}' is none of {', '.join(choices)}.")
        if not 0 < self.guided <= 1:
            raise UserError(f"guided: {self.guided} must be above nought and at most 1.")
        if self.guided < 1 and self.reconstruction == "none":
            raise UserError("guided: below 1 needs a reconstruction, for the steps after it.")
        for name in ("starts", "steps", "learning_rate", "perceptual_size"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name}: {getattr(self, name)} must be above nought and finite.")
        for name in ("alpha", "beta", "frames"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name}: {getattr(self, name)} must be nought or more, finite.")

    def attrs(self) -> dict:
        """For the attributes of a store."""
        return asdict(self)


def add_settings(parser: argparse.ArgumentParser, **defaults) -> None:
    """Add every setting to a command line, with other defaults for some.

    A default of None is for the step to fill in; its help says how.
    """
    group = parser.add_argument_group("optimisation")
    for one in fields(Settings):
        default = defaults.get(one.name, one.default)
        known = "see above" if default is None else "%(default)s"
        group.add_argument(
            f"--{one.name.replace('_', '-')}",
            type=one.type if isinstance(one.type, type) else str,
            default=default,
            choices=one.metadata["choices"],
            help=f"{one.metadata['help']}, default {known}",
        )


def settings_from(arguments: argparse.Namespace) -> Settings:
    """Settings of a command line."""
    return Settings(**{one.name: getattr(arguments, one.name) for one in fields(Settings)})
