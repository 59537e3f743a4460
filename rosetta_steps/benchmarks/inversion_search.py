"""Search settings of an inversion on images that no table reports.

Every combination of the values given is tried on the same images and starts; a line each with PSNR,
and the difference to the first combination with its 95 % interval over images.

    python -m rosetta_steps.benchmarks.inversion_search --generator dcgan-digiface ... \
        --vary similarity pearson cosine --vary beta 0 0.2 1
"""

import argparse
import itertools
import sys
import time
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from scipy import stats

from rosetta_steps.config.options import add_options, options_from
from rosetta_steps.inversion.arguments import add_match_arguments
from rosetta_steps.inversion.inverter import Inverter
from rosetta_steps.inversion.matches import matches_from
from rosetta_steps.inversion.metrics import psnr
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError, run
from rosetta_steps.zoo.generators.latents import latent

OF_MATCHES = ("neighbours", "min_correlation")


def targets_of(inverter: Inverter, seed: int, images: int) -> torch.Tensor:
    """Images of the generator, (image, rgb, y, x)."""
    generator = inverter.generator
    z = np.stack([latent(seed, i, generator.latent_size) for i in range(images)])
    return generator.generate(torch.from_numpy(z)).detach().cpu()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_match_arguments(parser)
    parser.add_argument("--images", type=int, default=12, help="default %(default)s")
    parser.add_argument("--image-seed", type=int, default=2, help="default %(default)s")
    parser.add_argument(
        "--vary", nargs="+", action="append", required=True, metavar=("SETTING", "VALUE")
    )
    add_options(parser, Settings, reconstruction="perceptual")
    a = parser.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    kinds: dict[str, Any] = {one.name: one.type for one in fields(Settings)}
    kinds |= {"neighbours": int, "min_correlation": float}
    names = [words[0].replace("-", "_") for words in a.vary]
    if unknown := [name for name in names if name not in kinds]:
        raise UserError(f"no setting '{unknown[0]}': choose of {', '.join(kinds)}.")
    first, device = None, lease()
    for values in itertools.product(*(words[1:] for words in a.vary)):
        for name, value in zip(names, values, strict=True):
            setattr(a, name, kinds[name](value))
        settings = options_from(a, Settings)
        matches, moments = matches_from(a)
        inverter = Inverter(
            a.generator,
            a.zoo,
            matches if settings.beta else matches[:0],
            moments,
            settings=settings,
            device=device,
        )
        targets = targets_of(inverter, a.image_seed, a.images)
        begin = time.perf_counter()
        found = inverter.invert(
            targets, list(range(a.images)), None, inverter.rows_at_once(a.memory_gb)
        )
        seconds = (time.perf_counter() - begin) / a.images
        values_of = psnr(torch.from_numpy(found["image"]), targets).numpy()
        first = values_of if first is None else first
        gain = values_of - first
        half = stats.t.ppf(0.975, a.images - 1) * stats.sem(gain)
        words = " ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        print(
            f"{words:60} pairs {len(inverter.matches):4d}  PSNR {values_of.mean():6.2f}  against "
            f"the first {gain.mean():+6.2f} ± {half:4.2f}  {seconds:5.2f} s an image"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    run(main)
