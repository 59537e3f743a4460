"""Metrics of every image of every arm, their means, and paired tests: Table 1."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from rosetta_steps.inversion.arms import Arm, other_settings, read_arms
from rosetta_steps.inversion.metrics import Metric
from rosetta_steps.inversion.paired import mean_and_interval, paired_tests
from rosetta_steps.inversion.perceptual import metrics_of
from rosetta_steps.inversion.printing import comparisons_in_words, latex, markdown
from rosetta_steps.inversion.targets import resized
from rosetta_steps.matching.tables import write_table
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.manifests import Provenance, ingredients
from rosetta_steps.zoo.entries import suggestion

# Features of LPIPS at 256 px take about 0.1 GB an image.
IMAGES_PER_BLOCK = 8
DECIMALS = 5  # of fractions in table.csv; every image's values have one more
P_VALUES = ("p_t", "p_wilcoxon")


def measure(targets: Path, arms: Sequence[Arm], metrics: Sequence[Metric], device: str):
    """Every metric of every image of every arm.

    Args:
        targets: Samples store; its images are resized to those of the arms.
        arms: As read_arms returns them.
        metrics: As metrics_of returns them.
        device: "cpu" or "cuda".

    Returns:
        DataFrame, a row an image and arm, images in order and the arms of each side by side: image
        (its number), file and label where the targets have them, method, a column a metric (NaN
        where the arm failed), start, failed (step, -1: none), counted (no arm failed on it) and
        loss_total, ... of the last step.
    """
    samples = open_dataset(targets)
    full = [arm for arm in arms if not arm.empty]
    whole = [np.isfinite(arm.loss["total"]) for arm in full]
    count = samples.sizes["image"]
    values: dict[str, dict[str, list[np.ndarray]]] = {
        arm.name: {metric.label: [] for metric in metrics} for arm in full
    }
    with torch.no_grad(), tqdm(total=count, desc="measuring images", unit="image") as bar:
        for block in image_blocks(count, IMAGES_PER_BLOCK):
            target = resized(torch.from_numpy(samples["image"][block].values), full[0].size)
            target = target.to(device)
            of_targets = [metric.features(target) for metric in metrics]
            for arm in full:
                images = torch.from_numpy(arm.image[block].values).to(device)
                for metric, of_target in zip(metrics, of_targets, strict=True):
                    found = metric.compare(metric.features(images), of_target)
                    values[arm.name][metric.label].append(found.double().cpu().numpy())
            bar.update(len(target))
    known = {name: samples[name].values for name in ("file", "label") if name in samples}
    parts = []
    for arm, finite in zip(full, whole, strict=True):
        of_arm = {name: np.concatenate(blocks) for name, blocks in values[arm.name].items()}
        columns = {
            "image": np.arange(count),
            **{name: [str(v) if name == "file" else v for v in of] for name, of in known.items()},
            "method": arm.name,
            **{name: np.where(finite, one, np.nan) for name, one in of_arm.items()},
            "start": arm.start,
            "failed": arm.failed,
            "counted": np.all(whole, axis=0),
            **{f"loss_{term}": one for term, one in arm.loss.items()},
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts).sort_values("image", kind="stable", ignore_index=True)


def means(images: pd.DataFrame, arms: Sequence[Arm], metrics: Sequence[Metric]) -> pd.DataFrame:
    """Table 1: means over the images on which no arm failed, a row an arm, in their order.

    Args:
        images: As measure returns them.
        arms: Empty ones have a row of NaN, and the reason as its note.
        metrics: Its columns.

    Returns:
        method, a column a metric, images (how many the means are of) and note.
    """
    rows = []
    for arm in arms:
        counted = _counted(images, arm)
        failed = images[(images["method"] == arm.name) & images["loss_total"].isna()]
        rows.append(
            {
                "method": arm.name,
                **{m.label: mean_and_interval(counted[m.label].to_numpy())[0] for m in metrics},
                "images": len(counted),
                "note": arm.empty or _failures(failed),
            }
        )
    return pd.DataFrame(rows)


def comparisons(
    images: pd.DataFrame, arms: Sequence[Arm], metrics: Sequence[Metric], baseline: str
) -> pd.DataFrame:
    """Intervals of the means, and paired tests of each arm against one of them.

    Args:
        images: As measure returns them.
        arms: Empty ones have rows of NaN.
        metrics: Each has a row for every arm.
        baseline: Name of the arm that the others are compared with.

    Returns:
        method, metric, images, mean, mean_low and mean_high (95 % interval), then against the
        baseline difference (mean of this arm minus it, image by image), difference_low,
        difference_high, p_t, p_wilcoxon and better (images on which this arm is better).
    """
    rows = []
    for arm in arms:
        counted = _counted(images, arm)
        base = images[images["counted"] & (images["method"] == baseline)]
        for metric in metrics:
            values = counted[metric.label].to_numpy()
            row = dict(method=arm.name, metric=metric.label, images=len(values))
            row |= zip(("mean", "mean_low", "mean_high"), mean_and_interval(values), strict=True)
            if arm.name != baseline and len(values) == len(base):
                with np.errstate(invalid="ignore"):  # infinite PSNRs have no difference
                    differences = values - base[metric.label].to_numpy()
                better = differences > 0 if metric.higher_is_better else differences < 0
                names = ("difference", "difference_low", "difference_high", "p_t", "p_wilcoxon")
                found = (*mean_and_interval(differences), *paired_tests(differences))
                row |= dict(zip(names, found, strict=True)) | {"better": int(better.sum())}
            rows.append(row)
    columns = (
        "method metric images mean mean_low mean_high difference difference_low difference_high "
        "p_t p_wilcoxon better"
    )
    return pd.DataFrame(rows, columns=columns.split()).astype({"better": "Int64"})


def _counted(images: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    return images[images["counted"] & (images["method"] == arm.name)]


def _failures(failed: pd.DataFrame) -> str:
    if failed.empty:
        return ""
    named = ", ".join(f"{row.image} (step {row.failed})" for row in failed[:5].itertuples())
    more = ", ..." if len(failed) > 5 else ""
    return f"the loss was not finite on image {named}{more}; left out of every mean"


def compare(
    targets: Path, stores: Sequence[Path], metrics: Sequence[Metric], baseline: str, device: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The three tables, with all digits; says on stderr what was left out and what is not alike.

    Args:
        targets: Samples store.
        stores: One an arm.
        metrics: As metrics_of returns them.
        baseline: Arm that the others are compared with.
        device: "cpu" or "cuda".

    Returns:
        Of `means`, `measure` and `comparisons`.

    Raises:
        ValueError: As read_arms; there is no such baseline; or on every image an arm failed.
    """
    arms = read_arms(stores, targets)
    names = [arm.name for arm in arms]
    if baseline not in names:
        raise UserError(f"no arm '{baseline}' to compare with. {suggestion(baseline, names)}")
    for words in other_settings(arms):
        print(f"The arms differ in more than their matches: {words}.", file=sys.stderr)
    images = measure(targets, arms, metrics, device)
    table = means(images, arms, metrics)
    for row in table[table["note"] != ""].itertuples():
        print(f"{row.method}: {row.note.removesuffix('.')}.", file=sys.stderr)
    if not images["counted"].any():
        raise UserError(
            "on every image some arm failed, so no image is left to compare the arms on. Lower "
            "learning_rate or beta, or leave out the worst arm."
        )
    return table, images, comparisons(images, arms, metrics, baseline)


def rounded(table: pd.DataFrame, metrics: Sequence[Metric], further: int = 0) -> pd.DataFrame:
    """A table with as many decimals as mean something.

    Args:
        table: Any of the three.
        metrics: Columns of these have one decimal more than in print, other fractions DECIMALS.
        further: Decimals besides.
    """
    of_metrics = {metric.label: metric.digits + 1 for metric in metrics}
    decimals = {
        name: of_metrics.get(name, DECIMALS) + further
        for name in table.select_dtypes("float").columns.difference(P_VALUES)
    }
    p = {
        name: [float(f"{value:.4g}") for value in table[name]]
        for name in table.columns.intersection(P_VALUES)
    }
    return table.round(decimals).assign(**p)


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    device = lease()
    metrics = metrics_of(a.metrics, a.zoo, a.perceptual_size, device)
    table, images, tested = compare(a.targets, a.arms, metrics, a.baseline, device)
    table, tested = (rounded(of, metrics) for of in (table, tested))
    write_table(rounded(images, metrics, 1), a.images or beside(a.output, "images"))
    write_table(tested, a.tests or beside(a.output, "tests"))
    made_of = ingredients([a.targets, *a.arms])
    provenance = Provenance("table", [], a.targets.stem, made_of, a.identity)
    write_table(table, a.output, provenance)  # last: where it stands, the others do
    print(markdown(table, metrics), comparisons_in_words(tested, metrics, a.baseline), sep="\n\n")
    print("\nRows for LaTeX:\n", latex(table, metrics), sep="\n")


def beside(table: Path, what: str) -> Path:
    """Where a further table lies: table-images.csv beside table.csv."""
    return table.with_name(f"{table.stem}-{what}{table.suffix}")
