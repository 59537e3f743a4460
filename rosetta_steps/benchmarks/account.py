"""An account of a run: what each stage took of the wall clock, beside its bare costs."""

from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rosetta_steps.benchmarks.bare import FORWARD, PRODUCTS, READING, WHAT, WRITING
from rosetta_steps.benchmarks.published import OF_ALL_IMAGES, ONCE
from rosetta_steps.display.drawing import SMALL, STYLE, WIDTH, new_figure

# Stage to its rules, in the order of the work. A rule that is none of these is a stage by its own
# name; a stage that no rule makes any more is left out.
STAGES = {
    "weights": ("fetch_weights",),
    "plan": ("plan",),
    "sampling": ("sampling", "image_folder", "pictures"),
    "activations": ("activations", "streams"),
    "moments": ("moments",),
    "correlation": ("correlation",),
    "best buddies": ("best_buddies",),
    "matched maps": ("matched_maps",),
    "image sums": ("image_sums",),
    "evidence": ("evidence", "covariances", "untrained"),
    "names": ("names",),
    "concepts": ("concepts",),
    "page": ("dictionary_page",),
    "figures": ("figures",),
}
NO_JOB, WHOLE = "no job running", "whole"
# What a user of one pair waits for, up to its best buddies.
OF_A_PAIR = ("sampling", "activations", "moments", "correlation", "best buddies")
COLOURS = {
    FORWARD: "#3d3d3d",
    WRITING: "#7d7d7d",
    READING: "#a8a8a8",
    PRODUCTS: "#cfcfcf",
    "workflow": "#3b6fb6",
    "published": "#c4553a",
}


@dataclass(frozen=True)
class Pair:
    """One pair of models in the published way, beside the workflow.

    Attributes:
        name: Of both models.
        published: Seconds of its parts, scaled to all images.
        measured: Number of images that it was run on.
        images: Number of all images.
        ours: Seconds of the workflow's stages for this pair; None if no workflow was run.
    """

    name: str
    published: pd.Series
    measured: int
    images: int
    ours: pd.Series | None

    @property
    def words(self) -> str:
        """How the published way was measured."""
        if self.measured == self.images:
            return f"on {self.images} images"
        return f"on {self.measured} images, scaled linearly to {self.images}"

    def in_words(self) -> str:
        """Both ways in seconds, and their ratio."""
        total = self.published.sum()
        said = f"{self.name}, published way, {self.words}: {_sum_in_words(self.published)}"
        if self.ours is None:
            return said
        return (
            f"{said}\n{self.name}, workflow, from images to best buddies: "
            f"{_sum_in_words(self.ours)}\npublished way / workflow: {total / self.ours.sum():.1f}"
        )

    def table(self) -> pd.DataFrame:
        """Way, part and seconds; images that the published way was run on."""
        found = self.published.rename("seconds").rename_axis("part").reset_index()
        found.insert(0, "way", "published")
        if self.ours is not None:
            own = self.ours.rename("seconds").rename_axis("part").reset_index()
            found = pd.concat([found, own.assign(way="workflow")], ignore_index=True)
        measured = {"published": self.measured, "workflow": self.images}
        return found.assign(images=self.images, measured_on=found["way"].map(measured))


def _sum_in_words(seconds: pd.Series) -> str:
    parts = ", ".join(f"{part} {value:.1f}" for part, value in seconds.items())
    return f"{seconds.sum():.1f} s ({parts})"


def stage_of(rule: str) -> str:
    """Stage of a rule."""
    return next((stage for stage, rules in STAGES.items() if rule in rules), rule)


def stages(jobs: pd.DataFrame, bare: pd.DataFrame, wall: float) -> pd.DataFrame:
    """Return what each stage took, and what it could not do without.

    Args:
        jobs: As benchmarks.jobs.jobs_of returns it.
        bare: As benchmarks.bare.bare_costs returns it.
        wall: Wall clock of the run in seconds.

    Returns:
        stage, jobs (how many), job_seconds (their sum), seconds (of the wall clock), share (of it),
        bare (seconds), ratio (seconds / bare; NaN without a bare cost). After the stages a row of
        the time when no job ran, and one of the whole.
    """
    of_stage = jobs.assign(stage=[stage_of(rule) for rule in jobs["rule"]]).groupby("stage")
    took = of_stage.agg(
        jobs=("rule", "size"), job_seconds=("job_seconds", "sum"), seconds=("seconds", "sum")
    )
    needed = bare.groupby("stage")["seconds"].sum()
    others = sorted({*took.index, *needed.index} - set(STAGES))
    order = [stage for stage in (*STAGES, *others) if stage in took.index or stage in needed.index]
    table = took.reindex(order).fillna(0)
    table["bare"] = needed.reindex(order)
    table.loc[NO_JOB, ["jobs", "job_seconds", "seconds"]] = [0, 0, wall - took["seconds"].sum()]
    whole = [len(jobs), jobs["job_seconds"].sum(), wall]
    table.loc[WHOLE, ["jobs", "job_seconds", "seconds"]] = whole
    table.loc[WHOLE, "bare"] = needed.sum()
    table["jobs"] = table["jobs"].astype(int)
    table["share"] = table["seconds"] / wall
    table["ratio"] = table["seconds"] / table["bare"]
    columns = ["jobs", "job_seconds", "seconds", "share", "bare", "ratio"]
    return table[columns].rename_axis("stage").reset_index()


def jobs_beside_bare(jobs: pd.DataFrame, bare: pd.DataFrame) -> pd.DataFrame:
    """Return the jobs of models and pairs that have bare costs, beside these.

    Returns:
        stage, name, seconds (of the job), one column of seconds for each of WHAT that any has,
        ratio (to all of them), to_forward (to the forward pass).
    """
    costs = bare.pivot_table(index=["stage", "name"], columns="what", values="seconds", sort=False)
    found = costs[[what for what in WHAT if what in costs]].reset_index()
    took = jobs.assign(stage=[stage_of(rule) for rule in jobs["rule"]])
    of_job = took.groupby(["stage", "name"])["job_seconds"].sum()
    keys = pd.MultiIndex.from_frame(found[["stage", "name"]])
    found.insert(2, "seconds", of_job.reindex(keys).to_numpy())
    found["ratio"] = found["seconds"] / found[found.columns[3:]].sum(axis=1)
    if FORWARD in found:
        found["to_forward"] = found["seconds"] / found[FORWARD]
    return found


def seconds_of_the_pair(jobs: pd.DataFrame, sample_set: str, a: str, b: str) -> pd.Series:
    """Return what the workflow took for one pair, stage by stage, from its images to best buddies.

    Args:
        jobs: As benchmarks.jobs.jobs_of returns it. A job of the whole sample set counts in full.
        sample_set: Name of the sample set.
        a: Name of the first model.
        b: Name of the second model.
    """
    of_stage = jobs.assign(stage=[stage_of(rule) for rule in jobs["rule"]])
    own = of_stage["name"].isin([sample_set, a, b, f"{a}--{b}"])
    kept = of_stage[own & of_stage["stage"].isin(OF_A_PAIR)]
    seconds = kept.groupby("stage")["job_seconds"].sum()
    return seconds.reindex([stage for stage in OF_A_PAIR if stage in seconds.index])


# --- picture --------------------------------------------------------------------------------------


def picture(
    table: pd.DataFrame,
    bare: pd.DataFrame,
    pair: Pair | None,
    title: str,
) -> Figure:
    """Draw the stages of a run beside their bare costs, and one pair beside the published way.

    Args:
        table: As `stages` returns it.
        bare: As benchmarks.bare.bare_costs returns it.
        pair: One pair in the published way; None: it was left out.
        title: Sample set, machine and settings.
    """
    rows = 2 * len(table) + 1
    with matplotlib.rc_context(STYLE):
        figure = new_figure(WIDTH, 0.14 * rows + (1.25 if pair else 0.55))
        if pair:
            upper, lower = figure.subplots(2, 1, height_ratios=(rows, 4.5))
            draw_pair(lower, pair)
        else:
            upper = figure.subplots()
        draw_stages(upper, table, bare)
        figure.suptitle(title, x=0.01, ha="left", size=SMALL)
        figure.tight_layout()
    return figure


def draw_stages(axes: Axes, table: pd.DataFrame, bare: pd.DataFrame) -> None:
    """Draw two bars a stage: its seconds of the wall clock above, its bare costs below."""
    costs = bare.pivot_table(index="stage", columns="what", values="seconds", aggfunc="sum")
    costs.loc[WHOLE] = costs.sum()
    longest = table["seconds"].max()
    axes.barh([], [], color=COLOURS["workflow"], label="workflow")
    kinds = [what for what in WHAT if what in costs]
    for what in kinds:
        axes.barh([], [], color=COLOURS[what], label=f"bare: {what}")
    for place, row in enumerate(table.itertuples()):
        axes.barh(place - 0.2, row.seconds, height=0.4, color=COLOURS["workflow"])
        words = f" {row.seconds:.3g} s"
        if np.isfinite(row.ratio):
            words += f", {row.ratio:.2g} × bare"
        axes.text(row.seconds, place - 0.2, words, va="center", size=SMALL)
        if row.stage in costs.index:
            left = 0.0
            for what in kinds:
                width = np.nan_to_num(costs.loc[row.stage, what])
                axes.barh(place + 0.2, width, left=left, height=0.4, color=COLOURS[what])
                left += width
            axes.text(left, place + 0.2, f" {left:.3g} s", va="center", size=SMALL, color="0.35")
    axes.axhline(len(table) - 1.5, color="0.7", linewidth=0.5)
    axes.set_yticks(range(len(table)), table["stage"])
    axes.set(xlabel="seconds of the wall clock", xlim=(0, longest * 1.15))
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.legend(loc="upper right", frameon=False, fontsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def draw_pair(axes: Axes, pair: Pair) -> None:
    """Draw one bar of the published way, by its parts, and one of the workflow."""
    assert pair.ours is not None, "the workflow was run"
    shades = dict(zip((*OF_ALL_IMAGES, *ONCE), (0.45, 0.7, 1.0, 0.3, 0.15), strict=True))
    published, ours, left = pair.published, pair.ours.sum(), 0.0
    for part, shade in shades.items():
        axes.barh(0, published[part], left=left, color=COLOURS["published"], alpha=shade)
        if published[part] > 0.12 * published.sum():
            axes.text(left + published[part] / 2, 0, part, ha="center", va="center", size=SMALL)
        left += published[part]
    axes.text(left, 0, f" {left:.3g} s", va="center", size=SMALL)
    axes.barh(1, ours, color=COLOURS["workflow"])
    axes.text(ours, 1, f" {ours:.3g} s: {left / ours:.3g} times less", va="center", size=SMALL)
    axes.set_yticks([0, 1], ["published way", "workflow"])
    axes.set(xlabel=f"seconds of {pair.name} alone; published way {pair.words}")
    axes.set_xlim(0, max(left, ours) * 1.15)
    axes.set_ylim(1.6, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
