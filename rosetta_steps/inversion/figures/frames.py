"""Frames of an inversion, and the animation that they make."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from rosetta_steps.display import heatmaps
from rosetta_steps.display.drawing import folded
from rosetta_steps.inversion.arms import read_arm, why_empty
from rosetta_steps.inversion.figures.kept import first_latents, settings_of, space_of
from rosetta_steps.inversion.optimisation import kept_steps
from rosetta_steps.inversion.targets import resized
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.files import whole_file
from rosetta_steps.storage.leftovers import remove_leftovers
from rosetta_steps.storage.manifests import refuse_not_made_of
from rosetta_steps.zoo.entries import entry_digest, find_entry
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.protocols import TorchGenerator
from rosetta_steps.zoo.weights import weights_file

FORMATS = (".webp", ".gif")
LEAST = 192  # pixels: the longer side of a shown image, which a larger one keeps
GAP, LINE = 6, 22  # pixels between images; of a line of text
HOLD = 1500  # milliseconds for which the start and the result stay
WHITE, BLACK = (255, 255, 255), (30, 30, 30)


def frames_of(
    store: xr.Dataset, generator: TorchGenerator, images: Sequence[int]
) -> tuple[list[int], np.ndarray]:
    """What the generator made on the way, from the random start to the result.

    Args:
        store: Of the inversion.
        generator: That it went through.
        images: Their numbers.

    Returns:
        The steps, 0 first, and images (frame, image, rgb, y, x) in [0, 1].
    """
    settings, space = settings_of(store), space_of(store, generator, images)
    later = torch.from_numpy(np.stack([store["frame"][image].values for image in images]))
    first = first_latents(store, space, images)
    latents = [first, *later.to(first.device).unbind(1)]
    steps = [0, *sorted(kept_steps(settings.steps, settings.frames))]
    pictures = [space.pictures(of).cpu().numpy() for of in latents]
    return steps, np.stack(pictures)


def canvases(
    targets: np.ndarray, steps: Sequence[int], frames: np.ndarray, last: int
) -> list[Image.Image]:
    """The pictures of an animation: targets in the upper row, a frame of each in the lower one.

    Args:
        targets: (image, rgb, y, x) in [0, 1].
        steps: One a frame.
        frames: (frame, image, rgb, y, x), of the same size.
        last: Number of steps of the whole optimisation.

    Returns:
        A picture a frame, all of one size.
    """
    height, width = heatmaps.display_size(targets.shape[2:], max(LEAST, *targets.shape[2:]))
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 14)
    size = (
        len(targets) * (width + GAP) + GAP,
        2 * (height + LINE + GAP),
    )
    found = []
    for step, pictures in zip(steps, frames, strict=True):
        canvas = Image.new("RGB", size, WHITE)
        draw = ImageDraw.Draw(canvas)
        words = "start" if step == 0 else f"step {step} of {last}"
        for row, (said, shown) in enumerate((("target", targets), (words, pictures))):
            top = row * (height + LINE + GAP)
            draw.text((GAP, top + LINE - 5), said, BLACK, font, anchor="ls")
            for column, picture in enumerate(shown):
                resized_picture = heatmaps.resize_image(picture.transpose(1, 2, 0), (height, width))
                place = (GAP + column * (width + GAP), top + LINE)
                canvas.paste(Image.fromarray(heatmaps.to_bytes(resized_picture)), place)
        found.append(canvas)
    return found


def empty_canvas(reason: str) -> Image.Image:
    """A picture that says why there is nothing to animate."""
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 14)
    lines = folded(reason, 70).split("\n")
    canvas = Image.new("RGB", (600, (len(lines) + 2) * LINE), WHITE)
    for place, line in enumerate(lines):
        ImageDraw.Draw(canvas).text((GAP, (place + 1.5) * LINE), line, BLACK, font, anchor="ls")
    return canvas


def write_animation(
    pictures: Sequence[Image.Image], output: Path, milliseconds: int, identity: str | None = None
) -> None:
    """Write pictures as an animation that is repeated for ever, whole or not at all.

    A single picture is a still one.

    The first and the last picture stay for HOLD.

    Args:
        pictures: Of one size.
        output: Its ending is one of FORMATS.
        milliseconds: For which each of the others is shown.
        identity: What it follows from, written into a WebP as its XMP.
    """
    times = [HOLD, *[milliseconds] * (len(pictures) - 2), HOLD][-len(pictures) :]
    settings: dict[str, Any] = {
        "save_all": True,
        "append_images": list(pictures[1:]),
        "duration": times,
        "loop": 0,
    }
    if output.suffix == ".webp":
        settings |= {"format": "WEBP", "quality": 85, "method": 4}
        settings |= {"xmp": identity.encode()} if identity else {}
    else:
        # one palette for all frames, so that nothing flickers
        shared = _palette(pictures)
        pictures = [picture.quantize(palette=shared) for picture in pictures]
        settings |= {"format": "GIF", "append_images": pictures[1:], "optimize": False}
    remove_leftovers(output)
    with whole_file(output) as temporary:
        pictures[0].save(temporary, **settings)


def _palette(pictures: Sequence[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    all_of_them = Image.new("RGB", (width, height * len(pictures)))
    for place, picture in enumerate(pictures):
        all_of_them.paste(picture, (0, place * height))
    return all_of_them.quantize(256, Image.Quantize.MEDIANCUT)


def animate(
    inversion: Path,
    images: Sequence[int] | int,
    output: Path,
    *,
    zoo: str,
    targets: Path | None = None,
    milliseconds: int = 120,
    device: str = "cpu",
    identity: str | None = None,
) -> None:
    """Write the animation of some images of an inversion.

    Args:
        inversion: X.zarr.
        images: Their numbers, one a column; or how many of the first, fewer where there are fewer.
        output: X.webp or X.gif.
        zoo: File with the entries.
        targets: Samples store; None: where the inversion says they are.
        milliseconds: For which a frame is shown.
        device: "cpu" or "cuda".
        identity: As write_animation takes it.

    Raises:
        ValueError: The inversion is empty, has no frames or no such image, its generator has
            changed since, or the output is of another format.
    """
    if output.suffix not in FORMATS:
        raise UserError(f"{output}: write an animation as {' or '.join(FORMATS)}.")
    arm = read_arm(inversion)
    if arm.empty:
        raise UserError(f"{inversion} has nothing to animate: {arm.empty}")
    store = open_dataset(inversion)
    count = store.sizes["image"]
    if isinstance(images, int):
        images = range(min(images, count))
    if missing := [image for image in images if not 0 <= image < count]:
        raise UserError(
            f"{inversion} has images 0 to {count - 1}, not {', '.join(map(str, missing))}."
        )
    if not store.attrs["frames"]:
        raise UserError(
            f"{inversion} has no frames on the way: invert with --frames 25, or so many as wanted "
            "(frames: in the config)."
        )
    name = store.attrs["generator"]
    entry = find_entry(name, zoo)
    if store.attrs["generator_digest"] != entry_digest(entry):
        raise UserError(
            f"{inversion} went through another {name}: its entry, its weights or its network have "
            "changed since. Invert again."
        )
    targets = targets or Path(store.attrs["targets"])
    samples = open_dataset(targets)
    refuse_not_made_of([inversion], targets)
    of = np.stack([samples["image"][image].values for image in images])
    generator = load(name, entry, weights_file(name, entry), device)
    steps, frames = frames_of(store, generator, images)
    of = resized(torch.from_numpy(of), frames.shape[3:]).numpy()
    shown = canvases(of, steps, frames, store.attrs["steps"])
    write_animation(shown, output, milliseconds, identity)


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    if a.milliseconds < 1:
        raise UserError(f"--milliseconds {a.milliseconds}: a frame is shown for at least one.")
    if reason := why_empty(a.inversion):
        return write_animation([empty_canvas(reason)], a.output, a.milliseconds, a.identity)
    if a.count < 1:
        raise UserError(f"--count {a.count}: an animation shows at least one image.")
    animate(
        a.inversion,
        a.images or a.count,
        a.output,
        zoo=a.zoo,
        targets=a.targets,
        milliseconds=a.milliseconds,
        device=lease(),
        identity=a.identity,
    )
