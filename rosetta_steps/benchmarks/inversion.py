"""Time inversions: many images at once against one at a time through the whole forward pass.

The same images, starts, steps and settings in one run, eq. 7 (with a reconstruction) and eq. 5
(guidance alone, where a batch also stops at the last layer that the loss needs). Prints images an
hour, the ratio, both final losses, and the memory foreseen and seen; then what one step takes
beside the passes that it cannot do without: forward and backward through the generator and, for
eq. 7, through the perceptual network, at the same batch.
"""

import argparse
import resource
import time

import numpy as np
import torch

from rosetta_steps.config.options import add_options, options_from
from rosetta_steps.inversion.arguments import add_match_arguments
from rosetta_steps.inversion.inverter import Inverter
from rosetta_steps.inversion.latents import Latents
from rosetta_steps.inversion.matches import matches_from
from rosetta_steps.inversion.objective import TERMS
from rosetta_steps.inversion.optimisation import optimise
from rosetta_steps.inversion.perceptual import ZooDistance
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import run
from rosetta_steps.zoo.generators.latents import latent

# Steps, and repeats of the bare passes, whose mean is reported: the fastest of all.
STEPS_TIMED = 5


class WholeForward(Latents):
    """Latents whose images are always computed, as where only the loss is optimised."""

    def maps_and_images(self, latents, layers, images, gradients=True):
        """As Latents has it, through to the image."""
        return super().maps_and_images(latents, layers, True, gradients)


def timed(inverter: Inverter, targets: torch.Tensor, at_once: int) -> tuple[float, np.ndarray]:
    """Seconds, and the final losses (image)."""
    begin = time.perf_counter()
    found = inverter.invert(targets, list(range(len(targets))), None, at_once)
    return time.perf_counter() - begin, found["loss"][:, 0, -1, TERMS.index("total")]


def one_at_a_time(inverter: Inverter, targets: torch.Tensor) -> tuple[float, np.ndarray]:
    """The same, image by image, each to the image at every step, its target's maps included."""
    begin, losses = time.perf_counter(), []
    for number in range(len(targets)):
        space = WholeForward(inverter.generator, inverter.settings.space)
        found = optimise(
            inverter.objective(targets[number : number + 1]),
            space,
            space.random(inverter.settings.seed, [number]),
            torch.tensor([0], device=inverter.device),
        )
        losses.append(found.losses[0, -1, TERMS.index("total")])
    return time.perf_counter() - begin, np.array(losses)


def seconds_of_a_step(inverter: Inverter, targets: torch.Tensor, repeats: int) -> float:
    """Seconds of one step of the optimisation of all targets together, the fastest of some."""
    space = Latents(inverter.generator, inverter.settings.space)
    numbers = list(range(len(targets)))
    rows = torch.arange(len(targets), device=inverter.device)
    ends: list[float] = []
    optimise(
        inverter.objective(targets),
        space,
        space.random(inverter.settings.seed, numbers),
        rows,
        lambda _: ends.append(_now(inverter.device)),
    )
    return float(np.sort(np.diff(ends))[: max(1, repeats)].mean())


def bare_seconds(inverter: Inverter, images: int, repeats: int) -> float:
    """Seconds of the passes alone: latents to images (eq. 5: to the last layer), and back.

    The perceptual network runs to the last layer that it compares. No map is compared and no
    latent moved.
    """
    space = Latents(inverter.generator, inverter.settings.space)
    latents = space.random(inverter.settings.seed, list(range(images))).requires_grad_()
    distance = inverter.distance
    deepest = [one.name for one in inverter.generator.layers() if one.name in inverter.sizes][-1:]
    taken = []
    for _ in range(repeats + 1):  # the first warms up
        latents.grad = None
        begin = _now(inverter.device)
        if inverter.settings.reconstruction == "none":
            maps, _ = space.maps_and_images(latents, deepest, images=False)
            out = maps[deepest[0]]
        else:
            out = (space.raw(latents).float() + 1) / 2
        if isinstance(distance, ZooDistance):
            last = distance.layers[-1]
            out = distance.model.activations(out, [last], gradients=True)[last]
        out.sum().backward()
        taken.append(_now(inverter.device) - begin)
    return float(np.sort(taken)[:repeats].mean())


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Images an hour: in batches, and one image at a time through the whole forward."
    )
    add_match_arguments(parser)
    parser.add_argument("--images", type=int, default=16, help="default %(default)s")
    add_options(parser, Settings, steps=25, reconstruction="perceptual")
    a = parser.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    matches, moments = matches_from(a)
    chosen, device = options_from(a, Settings), lease()
    for words, settings in (
        ("eq. 7", chosen),
        ("eq. 5", Settings(**(chosen.attrs() | {"reconstruction": "none"}))),
    ):
        inverter = Inverter(a.generator, a.zoo, matches, moments, settings=settings, device=device)
        generator = inverter.generator
        z = np.stack([latent(99, i, generator.latent_size) for i in range(a.images)])
        targets = generator.generate(torch.from_numpy(z)).detach().cpu()
        foreseen = inverter.needs.of_a_row
        at_once = inverter.rows_at_once(a.memory_gb)
        timed(inverter, targets[:2], 2)  # warm up
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        together, losses = timed(inverter, targets, at_once)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        alone, losses_alone = one_at_a_time(inverter, targets)
        print(
            f"{words}: {a.images} images, {settings.steps} steps, {at_once} at once: "
            f"{3600 * a.images / together:.0f} images an hour, one at a time "
            f"{3600 * a.images / alone:.0f}: ratio {alone / together:.2f}. Final loss "
            f"{losses.mean():.4f} and {losses_alone.mean():.4f}. Memory foreseen "
            f"{foreseen * min(at_once, a.images) / 1e9:.2f} GB, growth seen at most "
            f"{max(0, after - before) / 1e9:.2f} GB."
        )
        some = targets[:at_once]
        bare = bare_seconds(inverter, len(some), STEPS_TIMED)
        step = seconds_of_a_step(inverter, some, STEPS_TIMED)
        print(
            f"{words}: a step of {len(some)} images {1000 * step:.0f} ms, its passes alone "
            f"{1000 * bare:.0f} ms: ratio {step / bare:.2f}."
        )


if __name__ == "__main__":
    run(main)
