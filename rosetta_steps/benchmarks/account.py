"""An account of a run: what each stage took of the wall clock, beside its bare costs."""

from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

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
    "moments": ("moments", "moments_alone", "moments_of_the_pass"),
    "correlation": ("correlation", "correlation_and_moments"),
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
        stage, name, seconds (the job's share of the wall clock), one column of seconds for each of
        WHAT that any has, ratio (to all of them), to_forward (to the forward pass).
    """
    costs = bare.pivot_table(index=["stage", "name"], columns="what", values="seconds", sort=False)
    found = costs[[what for what in WHAT if what in costs]].reset_index()
    took = jobs.assign(stage=[stage_of(rule) for rule in jobs["rule"]])
    of_job = took.groupby(["stage", "name"])["seconds"].sum()
    keys = pd.MultiIndex.from_frame(found[["stage", "name"]])
    found.insert(2, "seconds", of_job.reindex(keys).to_numpy())
    found["ratio"] = found["seconds"] / found[found.columns[3:]].sum(axis=1)
    if FORWARD in found:
        found["to_forward"] = found["seconds"] / found[FORWARD]
    return found


def seconds_of_the_pair(jobs: pd.DataFrame, sample_set: str, a: str, b: str) -> pd.Series:
    """Return what the workflow took for one pair, stage by stage, from its images to best buddies.

    Args:
        jobs: As benchmarks.jobs.jobs_of returns it. Those of the pair, and of the whole sample set,
            count with their share of the wall clock: what ran beside them had its own.
        sample_set: Name of the sample set.
        a: Name of the first model.
        b: Name of the second model.
    """
    of_stage = jobs.assign(stage=[stage_of(rule) for rule in jobs["rule"]])
    own = of_stage["name"].isin([sample_set, a, b, f"{a}--{b}"])
    kept = of_stage[own & of_stage["stage"].isin(OF_A_PAIR)]
    seconds = kept.groupby("stage")["seconds"].sum()
    return seconds.reindex([stage for stage in OF_A_PAIR if stage in seconds.index])


# --- picture --------------------------------------------------------------------------------------


def picture(table: pd.DataFrame, bare: pd.DataFrame, pair: Pair | None, title: str) -> Figure:
    """Draw the stages of a run beside their bare costs; below, the whole and the published way.

    Args:
        table: As `stages` returns it.
        bare: As benchmarks.bare.bare_costs returns it.
        pair: One pair in the published way; None: it was left out.
        title: Sample set, machine and settings.
    """
    parts, whole = table[table["stage"] != WHOLE], table[table["stage"] == WHOLE].iloc[0]
    costs = bare.pivot_table(index="stage", columns="what", values="seconds", aggfunc="sum")
    costs = costs[[what for what in WHAT if what in costs]].fillna(0)
    with matplotlib.rc_context(STYLE):
        height = 0.2 * len(parts) + 0.7
        figure = new_figure(WIDTH, height + 1.1)
        figure.set_layout_engine("constrained")
        grid = figure.add_gridspec(2, 2, height_ratios=(height, 1.1), width_ratios=(1, 1.5))
        draw_stages(figure.add_subplot(grid[0, :]), parts, costs)
        if pair is None or pair.ours is None:
            draw_whole(figure.add_subplot(grid[1, :]), whole, costs.sum())
        else:
            draw_whole(figure.add_subplot(grid[1, 0]), whole, costs.sum())
            right = figure.add_subplot(grid[1, 1])
            draw_pair(right, pair.published, pair.ours)
            words = f"{pair.name}\npublished way {pair.words}"
            right.set_title(words, loc="right", size=SMALL)
        figure.suptitle(title, x=0.01, ha="left", size=SMALL)
    return figure


def draw_stages(axes: Axes, table: pd.DataFrame, costs: pd.DataFrame) -> None:
    """Draw two bars a stage: its seconds of the wall clock above, its bare costs below.

    Args:
        axes: To draw on.
        table: Of the stages and the time when no job ran.
        costs: Seconds by stage and kind of bare cost.
    """
    for place, row in enumerate(table.itertuples()):
        axes.barh(place - 0.2, row.seconds, height=0.4, color=COLOURS["workflow"])
        words = f" {_seconds(row.seconds)}"
        if np.isfinite(row.ratio):
            words += f", {_times(row.ratio)} × bare"
        axes.text(row.seconds, place - 0.2, words, va="center", size=SMALL)
        if row.stage in costs.index:
            draw_bare(axes, place + 0.2, costs.loc[row.stage], height=0.4)
    axes.set_yticks(range(len(table)), table["stage"])
    axes.set(xlabel="seconds of the wall clock", xlim=(0, table["seconds"].max() * 1.15))
    axes.set_ylim(len(table) - 0.4, -0.6)
    colours = {"workflow": "workflow"} | {what: f"bare: {what}" for what in costs}
    handles = [Patch(color=COLOURS[what], label=label) for what, label in colours.items()]
    axes.legend(handles=handles, loc="best", frameon=False, fontsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def draw_bare(axes: Axes, place: float, costs: pd.Series, height: float) -> None:
    """Draw bare costs as one bar, by their kinds, with their sum."""
    left = 0.0
    for what, seconds in costs.items():
        axes.barh(place, seconds, left=left, height=height, color=COLOURS[str(what)])
        left += seconds
    axes.text(left, place, f" {_seconds(left)}", va="center", size=SMALL, color="0.35")


def draw_whole(axes: Axes, whole: pd.Series, costs: pd.Series) -> None:
    """Draw one bar of the whole run, and one of the sum of its bare costs."""
    axes.barh(0, whole["seconds"], color=COLOURS["workflow"])
    words = f" {_seconds(whole['seconds'])}, {_times(whole['ratio'])} × bare"
    axes.text(whole["seconds"], 0, words, va="center", size=SMALL)
    draw_bare(axes, 1, costs, height=0.8)
    _finish(axes, ["whole run", "bare costs"], whole["seconds"] * 1.6)


def draw_pair(axes: Axes, published: pd.Series, ours: pd.Series) -> None:
    """Draw one bar of the published way, by its parts, and one of the workflow."""
    shades = dict(zip((*OF_ALL_IMAGES, *ONCE), (0.45, 0.7, 1.0, 0.3, 0.15), strict=True))
    left, took = 0.0, ours.sum()
    for part, shade in shades.items():
        part_words = part.replace(" ", "\n")
        axes.barh(0, published[part], left=left, color=COLOURS["published"], alpha=shade)
        if published[part] > 0.2 * published.sum():
            axes.text(
                left + published[part] / 2, 0, part_words, ha="center", va="center", size=SMALL
            )
        left += published[part]
    axes.text(left, 0, f" {_seconds(left)}", va="center", size=SMALL)
    axes.barh(1, took, color=COLOURS["workflow"])
    axes.text(
        took, 1, f" {_seconds(took)}, {_times(left / took)} times less", va="center", size=SMALL
    )
    _finish(axes, ["published way", "workflow"], max(left, took * 1.4) * 1.15)


def _finish(axes: Axes, names: list[str], longest: float) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="seconds", xlim=(0, longest), ylim=(len(names) - 0.4, -0.6))
    axes.spines[["top", "right"]].set_visible(False)


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 100 else f"{value:.1f} s"


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
