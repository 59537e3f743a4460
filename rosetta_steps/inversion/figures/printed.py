"""Figures 4 to 7, drawn for print: arms side by side, and maps of matched pairs."""

import argparse
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

from rosetta_steps.display.drawing import (
    GAP,
    SMALL,
    TALLEST,
    WIDTH,
    can_be_written,
    folded,
    new_figure,
    save_figures,
    wrapped,
    write_text,
)
from rosetta_steps.display.panels import (
    SPACED,
    STRIP,
    draw_heatmap,
    draw_image,
    draw_key,
    empty_figure,
    foot_height,
    letters_in,
    number,
    proportion,
    write_lines,
)
from rosetta_steps.display.reading import file_label
from rosetta_steps.inversion.arms import Arm, nothing_in, read_arms
from rosetta_steps.inversion.figures.guided import (
    Guided,
    choose_pairs,
    open_guided,
    plane_of,
    shown_range,
)
from rosetta_steps.inversion.matches import matches_from
from rosetta_steps.inversion.metrics import psnr
from rosetta_steps.inversion.objective import TERMS
from rosetta_steps.inversion.targets import resized
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.manifests import ingredients

IMAGES_PER_BLOCK = 64


# --- comparison: figure 7 -------------------------------------------------------------------------


def measured(targets: Path, arms: Sequence[Arm]) -> np.ndarray:
    """PSNR of every image of every arm in dB, (arm, image); NaN where the arm failed."""
    samples = open_dataset(targets)
    values = []
    for block in image_blocks(samples.sizes["image"], IMAGES_PER_BLOCK):
        of = resized(torch.from_numpy(samples["image"][block].values), arms[0].size)
        images = [torch.from_numpy(arm.image[block].values) for arm in arms]
        values.append(torch.stack([psnr(image, of) for image in images]).numpy())
    found = np.concatenate(values, 1).astype(np.float64)
    found[~np.stack([np.isfinite(arm.loss["total"]) for arm in arms])] = np.nan
    return found


def evenly_chosen(values: np.ndarray, count: int) -> list[int]:
    """Images evenly over the quantiles of a value, the lowest first.

    Of n images sorted by the value, number i of k is the one at rank floor((i + 1/2) n / k): with
    k = 5, at the 10th, 30th, 50th, 70th and 90th percentile. Neither the best nor the worst.

    Args:
        values: (image); images whose value is not a number are left out.
        count: k; all are returned if there are no more.

    Returns:
        Indices of images; of equal values the earlier image is lower.
    """
    order = np.argsort(values, kind="stable")
    order = order[: len(order) - np.isnan(values).sum()]
    count = min(count, len(order))
    return [int(order[int((index + 0.5) * len(order) / count)]) for index in range(count)]


def comparison(
    targets: Path, arms: Sequence[Arm], *, count: int, images: Sequence[int] | None = None
) -> Figure:
    """Figure 7: a row a target, a column an arm, PSNR below.

    Args:
        targets: Samples store.
        arms: As read_arms returns them; empty ones are named at the foot.
        count: Images chosen evenly over the quantiles of the gain in PSNR of the last arm over the
            first.
        images: Numbers of images to show instead.

    Returns:
        The figure.

    Raises:
        ValueError: On every image an arm failed.
    """
    full = [arm for arm in arms if not arm.empty]
    values = measured(targets, full)
    with np.errstate(invalid="ignore"):  # of two exact inversions neither gains
        gain = values[-1] - values[0] if len(full) > 1 else values[0]
    gain = np.where(np.isnan(values).any(0), np.nan, gain)
    chosen = list(images) if images is not None else evenly_chosen(gain, count)
    if not chosen:
        raise UserError("on every image an arm failed, so there is nothing to compare.")
    if images is not None:
        rule = "Images chosen by hand."
    elif len(full) > 1:
        rule = (
            f"{len(chosen)} of {len(gain)} images, from above evenly over the quantiles of the "
            f"gain in PSNR of {full[-1].name} over {full[0].name} (mean over all "
            f"{np.nanmean(gain):+.1f} dB)."
        )
    else:
        rule = f"{len(chosen)} of {len(gain)} images, evenly over the quantiles of PSNR."
    left_out = ", ".join(arm.name for arm in arms if arm.empty)
    rule += f" Nothing was inverted for {left_out}." if left_out else ""
    samples = open_dataset(targets)
    pictures = resized(torch.from_numpy(samples["image"][sorted(chosen)].values), full[0].size)
    target = dict(zip(sorted(chosen), pictures.numpy(), strict=True))
    columns, tall = 1 + len(full), proportion(target[chosen[0]])
    cell = min(
        WIDTH / columns - GAP, (TALLEST - 0.6) / len(chosen) / tall - (STRIP + GAP) / tall, 1.2
    )
    width, names = columns * (cell + GAP), image_names(samples, chosen, letters_in(cell))
    heads = [wrapped(["target"], letters_in(cell))]
    heads += [wrapped(arm_words(arm.name), letters_in(cell)) for arm in full]
    head = 0.05 + SPACED * max(map(len, heads))
    words = folded(f"PSNR in dB. {rule}", letters_in(width))
    above = head + len(chosen) * (cell * tall + STRIP + GAP)
    figure = new_figure(width, above + SPACED * len(words.split("\n")) + 0.1)
    for column, lines in enumerate(heads):
        x = column * (cell + GAP)
        write_lines(figure, x, head - 0.04 - SPACED * len(lines), lines)
    for row, image in enumerate(chosen):
        y = head + row * (cell * tall + STRIP + GAP)
        draw_image(figure, target[image], 0.0, y, cell)
        below = y + cell * tall + STRIP - 0.01
        write_text(figure, 0.0, below, names[image], size=SMALL)
        for column, arm in enumerate(full, start=1):
            x = column * (cell + GAP)
            draw_image(figure, arm.image[image].values, x, y, cell)
            value = values[column - 1, image]
            said = "failed" if np.isnan(value) else f"{value:.1f}"
            best = len(full) > 1 and value == np.fmax.reduce(values[:, image])
            write_text(figure, x, below, said, size=SMALL, weight="bold" if best else "normal")
    write_lines(figure, 0.0, above + 0.04, words.split("\n"))
    return figure


def arm_words(name: str) -> list[str]:
    """What an arm is called above its column."""
    known = {"reconstruction": ["reconstruction", "alone"], "all": ["+ all matches"]}
    return known.get(name, [f"+ {name}"])


def image_names(samples: xr.Dataset, images: Sequence[int], letters: int) -> dict[int, str]:
    """What some target images are called: photos by their files, others by their numbers.

    Args:
        samples: Their store.
        images: Numbers.
        letters: The most of a name; of longer ones the middle is left out.
    """
    numbers = {image: f"image {image}" for image in images}
    if "file" not in samples:
        return numbers
    files = samples["file"].values
    names = {image: file_label(PurePath(str(files[image])).stem, letters) for image in images}
    return {
        image: name if can_be_written(name) else numbers[image] for image, name in names.items()
    }


# --- guidance: figure 4 ---------------------------------------------------------------------------


def middling_image(guided: Guided) -> int:
    """The image whose L_act after the last step is the median of all (the lower of two)."""
    loss = guided.store["loss"].isel(step=-1, term=TERMS.index("activation")).values
    return evenly_chosen(loss[np.arange(len(loss)), guided.store["start"].values], 1)[0]


def guidance_figure(guided: Guided, *, pairs: int, image: int | None = None) -> Figure:
    """Figure 4: one target, and the maps of some pairs before and after.

    Args:
        guided: The arm.
        pairs: How many, see choose_pairs.
        image: Number of the target; None: middling_image.

    Returns:
        The figure: rows target, start and result; columns the images, then pairs.
    """
    rule = "" if image is not None else ", that of the median L_act"
    image = middling_image(guided) if image is None else image
    target_maps = guided.target_maps([image])
    versions = [guided.generated([image], guided.layers, start=start) for start in (True, False)]
    chosen = choose_pairs(guided, target_maps, versions[1][0], pairs)
    target = guided.target_images([image]).numpy()[0]
    settings, tall, label = guided.inverter.settings, proportion(target), 0.62
    cell = min((WIDTH - label) / (1 + len(chosen)) - GAP, 0.95)
    width = label + (1 + len(chosen)) * (cell + GAP)
    letters = letters_in(cell + GAP)
    heads, middles = [], []
    for pair in chosen:
        own, other = guided.units(pair)
        r = guided.matches.loc[pair, "correlation"]
        heads.append(wrapped([other.model, other.layer, str(other.channel)], letters))
        middles.append(wrapped([own.layer, f"{own.channel}, r {r:.2f}"], letters))
    head = 0.05 + SPACED * max(map(len, heads))
    middle = 0.06 + SPACED * max(map(len, middles))
    step = cell * tall + STRIP + GAP
    tops = [head, head + cell * tall + middle, head + cell * tall + middle + step]
    name = image_names(guided.targets, [image], 40)[image]
    words = folded(
        f"Upper row: the target ({name}{rule}) and maps of models on it. Lower rows: "
        f"{guided.generator} at the random start and after {settings.steps} steps, with its maps "
        f"of the matched units; below a map, how similar it is to the one in the upper row "
        f"({settings.similarity}); below an image, L_act, the mean over all "
        f"{len(guided.matches)} pairs. Above a column: model, layer, channel; r: correlation over "
        "the mined images.",
        letters_in(width) - 2,
    )
    above = tops[-1] + step
    figure = new_figure(width, above + foot_height(words))
    loss = guided.store["loss"][image, int(guided.store["start"][image])].values
    l_act = loss[:, TERMS.index("activation")]
    for row, said in enumerate(("target", "start", f"after\n{settings.steps} steps")):
        write_lines(figure, 0.0, tops[row], said.split("\n"))
        draw_image(figure, versions[row - 1][1][0] if row else target, label, tops[row], cell)
    for row, value in ((1, l_act[0]), (2, l_act[-1])):
        below = tops[row] + cell * tall + STRIP - 0.01
        write_text(figure, label, below, number(value), size=SMALL)
    for column, pair in enumerate(chosen):
        x = label + (1 + column) * (cell + GAP)
        own, other = guided.units(pair)
        write_lines(figure, x, 0.0, heads[column])
        write_lines(figure, x, head + cell * tall + 0.03, middles[column])
        plane = plane_of(target_maps, other)[0]
        scale = shown_range([plane], guided.ranges[other][0])
        draw_heatmap(figure, plane, scale, target, x=x, y=head, width=cell)
        planes = [maps[own.layer][0, own.channel] for maps, _ in versions]
        scale = shown_range(planes, guided.ranges[own][0])
        for top, plane, (maps, pictures) in zip(tops[1:], planes, versions, strict=True):
            draw_heatmap(figure, plane, scale, pictures[0], x=x, y=top, width=cell)
            said = number(guided.similarity(pair, target_maps, maps)[0])
            write_text(figure, x, top + cell * tall + STRIP - 0.01, said, size=SMALL)
    draw_key(figure, above, words)
    return figure


# --- translation: figures 5 and 6 -----------------------------------------------------------------


def translation(guided: Guided, *, images: Sequence[int], pairs: int) -> Figure:
    """Figures 5 and 6: targets of another domain, maps of some pairs, and what the generator makes.

    Args:
        guided: The arm.
        images: Numbers of the targets, one a column.
        pairs: How many, see choose_pairs.

    Returns:
        The figure: rows targets, of each pair the model's map and the generator's, images.
    """
    target_maps = guided.target_maps(images)
    maps, pictures = guided.generated(images, guided.layers)
    chosen = choose_pairs(guided, target_maps, maps, pairs)
    targets = guided.target_images(images).numpy()
    tall, label, between = proportion(targets[0]), 1.0, 0.08
    rows = 2 + 2 * len(chosen)
    cell = min(
        (WIDTH - label) / len(images) - GAP,
        ((TALLEST - 0.7 - len(chosen) * between) / rows - GAP) / tall,
        0.95,
    )
    names = image_names(guided.targets, images, letters_in(cell))
    width = label + len(images) * (cell + GAP)
    words = folded(
        "Between the targets and the images: maps of matched units, a model's on the target above "
        f"that of {guided.generator} on its image. Beside them: model, layer, channel; r: "
        "correlation over the mined images.",
        letters_in(width) - 2,
    )
    tops = [STRIP + GAP]
    for row in range(1, rows):
        tops.append(tops[-1] + cell * tall + GAP + (between if row % 2 else 0.0))
    above = tops[-1] + cell * tall + GAP
    figure = new_figure(width, above + foot_height(words))

    def name_row(row: int, lines: list[str]) -> None:
        write_lines(figure, 0.0, tops[row], wrapped(lines, letters_in(label)))

    name_row(0, ["target"])
    name_row(rows - 1, ["image of", guided.generator])
    for column, image in enumerate(images):
        x = label + column * (cell + GAP)
        write_text(figure, x, STRIP, names[image], size=SMALL)
        draw_image(figure, targets[column], x, tops[0], cell)
        draw_image(figure, pictures[column], x, tops[-1], cell)
    for place, pair in enumerate(chosen):
        own, other = guided.units(pair)
        r = guided.matches.loc[pair, "correlation"]
        name_row(1 + 2 * place, [other.model, other.layer, str(other.channel)])
        name_row(2 + 2 * place, [own.model, own.layer, f"{own.channel}, r {r:.2f}"])
        for row, unit, planes, under in (
            (1 + 2 * place, other, plane_of(target_maps, other), targets),
            (2 + 2 * place, own, maps[own.layer][:, own.channel], pictures),
        ):
            scale = shown_range(planes, guided.ranges[unit][0])
            for column, (plane, picture) in enumerate(zip(planes, under, strict=True)):
                x = label + column * (cell + GAP)
                draw_heatmap(figure, plane, scale, picture, x=x, y=tops[row], width=cell)
    draw_key(figure, above, words)
    return figure


# --- command line ---------------------------------------------------------------------------------


def check_images(images: Sequence[int] | None, targets: Path) -> None:
    """Raise a ValueError if a target has no such image."""
    count = open_dataset(targets).sizes["image"]
    if missing := [image for image in images or () if not 0 <= image < count]:
        raise UserError(
            f"{targets} has images 0 to {count - 1}, not {', '.join(map(str, missing))}."
        )


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    if a.threads:
        torch.set_num_threads(a.threads)
    check_images(a.images, a.targets)
    if a.count < 1 or (a.kind != "comparison" and a.pairs < 1):
        raise UserError(f"{a.count} images and {a.pairs} pairs: ask for at least one.")
    if reasons := nothing_in(a.arms):
        save_figures({a.output.with_suffix(""): empty_figure(reasons)}, a.identity)
        return
    if a.kind == "comparison":
        arms = read_arms(a.arms, a.targets)
        figure = comparison(a.targets, arms, count=a.count, images=a.images)
    else:
        if len(a.arms) > 1 or (a.kind == "guidance" and len(a.images or [0]) > 1):
            raise UserError(f"--kind {a.kind} is of one arm and, of guidance, one image.")
        a.generator = read_arms(a.arms, a.targets)[0].attrs["generator"]
        ingredients([*a.arms, *a.buddies, *a.moments])  # refuses what does not belong together
        guided = open_guided(a.targets, a.arms[0], a.zoo, *matches_from(a))
        if a.kind == "guidance":
            figure = guidance_figure(guided, pairs=a.pairs, image=a.images[0] if a.images else None)
        else:
            images = a.images or range(min(a.count, guided.targets.sizes["image"]))
            figure = translation(guided, images=list(images), pairs=a.pairs)
    save_figures({a.output.with_suffix(""): figure}, a.identity)
