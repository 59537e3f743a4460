"""Optimisation of latents by Adam with the paper's schedule, for a batch of images and starts.

Rows of a batch are independent: Adam works element by element, and the generator treats images
separately. So a batch gives the same results as its images alone, except for rounding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rosetta_steps.inversion.adam import Adam
from rosetta_steps.inversion.latents import Latents
from rosetta_steps.inversion.objective import TERMS, Objective

RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps (section 4.2, after Karras et al. 2020)


@dataclass
class Optimised:
    """Result of an optimisation of n latents.

    Attributes:
        latents: Latents after the last step, (image, ...).
        losses: Terms before every step and after the last, (image, step + 1, term) float32; NaN
            from the step at which an image failed.
        failed: Step at which the loss or gradient of an image was not finite, (image); -1 if none.
        frames: Intermediate latents, (image, frame, ...); the last are the result.
    """

    latents: Tensor
    losses: np.ndarray
    failed: np.ndarray
    frames: Tensor


def learning_rate(step: int, steps: int) -> float:
    """Return the learning rate at a step as a share of its maximum.

    It increases linearly at the beginning and decreases along a cosine at the end.
    """
    done = step / steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / RAMP_DOWN))
    return down * min(1.0, done / RAMP_UP)


def optimise(
    objective: Objective,
    space: Latents,
    start: Tensor,
    rows: Tensor,
    progress: Callable[[int], None] = lambda images: None,
) -> Optimised:
    """Optimise latents by Adam.

    A latent whose loss or gradient is not finite stays as it was; the others go on.

    Args:
        objective: Loss to minimise.
        space: Space of the latents.
        start: Initial latents, (image, ...).
        rows: Number of each latent's target in the objective, (image).
        progress: Function that is called after every step with the number of latents.

        Returns:
            The latents after the last step, their losses and intermediate latents.
    """
    settings = objective.settings
    latents = start.detach().clone().requires_grad_()
    anchor = start.detach() if settings.regularise_to == "start" else space.prior()
    optimiser = Adam(latents)
    losses = np.full((len(start), settings.steps + 1, len(TERMS)), np.nan, np.float32)
    failed = np.full(len(start), -1)
    kept = kept_steps(settings.steps, settings.frames)
    frames = []
    whole = torch.ones(len(start), dtype=torch.bool, device=latents.device)
    for step in range(settings.steps + 1):
        if step in kept:
            frames.append(latents.detach().clone())
        last = step == settings.steps
        with torch.set_grad_enabled(not last):
            share = settings.guidance_fraction
            guided = step < share * settings.steps or share == 1
            terms = objective(space, latents, anchor, rows, gradients=not last, guided=guided)
        finite = torch.isfinite(terms["total"].detach()) & whole
        if not last:
            latents.grad = None
            torch.where(finite, terms["total"], 0).sum().backward()
            assert latents.grad is not None, "the regulariser alone has a gradient"
            finite &= torch.isfinite(latents.grad.flatten(1)).all(1)
        values = torch.stack([terms[name].detach() for name in TERMS], 1)
        values[~finite] = torch.nan
        losses[:, step] = values.cpu().numpy()
        failed[(whole & ~finite).cpu().numpy()] = step
        whole = finite
        if not last:
            assert latents.grad is not None
            before = latents.detach().clone()
            latents.grad[~whole] = 0
            rate = settings.learning_rate * learning_rate(step, settings.steps)
            optimiser.step(latents.grad, rate)
            with torch.no_grad():  # momentum would still move failed latents
                latents[~whole] = before[~whole]
            progress(len(start))
    return Optimised(latents.detach(), losses, failed, torch.stack(frames, 1))


def kept_steps(steps: int, frames: int) -> set[int]:
    """Return the steps before which latents are kept as frames; the last one is the result."""
    return {round(steps * (index + 1) / frames) for index in range(frames)} if frames else {steps}
