"""Survival of best buddies on other images, drawn for print."""

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rosetta_steps.correlation.similarities import SIMILARITIES
from rosetta_steps.display.drawing import SMALL, STYLE, WIDTH, folded, new_figure, save_figures
from rosetta_steps.evidence.replicated_pairs import CONFIRMATION, DECOYS, REFERENCE
from rosetta_steps.evidence.replication import (
    ALL,
    EVERY_MODEL,
    MINED,
    THIRDS,
    survival_on_other_images,
)
from rosetta_steps.matching.tables import write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest

KIND = "replication"
# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = {CONFIRMATION: "#d55e00", REFERENCE: "#0072b2", DECOYS: "#7f7f7f"}
MARKERS = {CONFIRMATION: "o", REFERENCE: "s", DECOYS: "x"}
LONGEST_NAME = 24  # letters that a panel's title has room for
APART = 0.2  # of the distance of two groups, between comparisons


def replication_figure(table: pd.DataFrame, first: str, mined: str) -> Figure:
    """Survival by depth of both units and by share of `where`, with Wilson's intervals.

    Args:
        table: As evidence.replication.summary gives it.
        first: The model whose units are a, mostly the generator.
        mined: The sample set on which pairs were mined.

    Returns:
        The figure: of all models together a mark with an interval, of each one a small mark.
    """
    models = list(dict.fromkeys(table["model"]))
    main = EVERY_MODEL if EVERY_MODEL in models else models[0]
    titles = {
        ALL: "all pairs",
        "depth_a": f"depth in {_short(first, 'the first model')}",
        "depth_b": f"depth in {'the model' if main == EVERY_MODEL else _short(main, 'the model')}",
        "where_share": "share of r from favourite places",
    }
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False, "axes.spines.right": False}):
        figure = new_figure(WIDTH, 2.9)
        widths = [1, *(len(names) for names in THIRDS.values())]
        panels = figure.subplots(1, len(titles), sharey=True, width_ratios=widths)
        for panel, (grouping, title) in zip(panels, titles.items(), strict=True):
            draw_panel(panel, table[table["grouping"] == grouping], grouping, main)
            panel.set_title(title, size=7, loc="left")
        panels[0].set_ylim(-0.02, 1.02)
        panels[0].set_ylabel("share of best buddies that survive")
        figure.subplots_adjust(0.065, 0.33, 0.99, 0.79, wspace=0.1)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(0.05, 1.01),
            frameon=False,
            fontsize=SMALL,
            labelspacing=0.25,
        )
        figure.text(
            0.0, 0.19, folded(caption(table, mined, main), 165), size=SMALL, va="top",
            parse_math=False,
        )  # fmt: skip
    return figure


def _short(name: str, otherwise: str) -> str:
    return name if len(name) <= LONGEST_NAME else otherwise


def draw_panel(panel: Axes, rows: pd.DataFrame, grouping: str, main: str) -> None:
    """Draw the groups of one grouping, each comparison beside the others."""
    names = THIRDS.get(grouping, (ALL,))
    comparisons = [c for c in COLOURS if c in set(rows["comparison"])]
    for index, comparison in enumerate(comparisons):
        of = rows[rows["comparison"] == comparison]
        shift = APART * (index - (len(comparisons) - 1) / 2)
        place = of["group"].map({name: i for i, name in enumerate(names)}) + shift
        whole = (of["model"] == main).to_numpy()
        style: dict[str, Any] = {"color": COLOURS[comparison], "marker": MARKERS[comparison]}
        share = of["share"].to_numpy()
        ends = np.abs(of[["share_low", "share_high"]].to_numpy().T - share)
        panel.errorbar(
            place[whole], share[whole], ends[:, whole], ls="none", ms=3, lw=1, capsize=1.5,
            label=label_of(of), **style,
        )  # fmt: skip
        panel.plot(place[~whole], share[~whole], ls="none", ms=1.5, alpha=0.6, **style)
    panel.set_xticks(range(len(names)), [_group(rows, name, main) for name in names])
    panel.set_xlim(-0.6, len(names) - 0.4)
    panel.tick_params(labelsize=SMALL)
    panel.grid(axis="y", lw=0.3, alpha=0.5)


def label_of(rows: pd.DataFrame) -> str:
    """What the rows of a comparison are called in the key."""
    row = rows.iloc[0]
    words = {
        CONFIRMATION: "on {0} ({1} images)",
        REFERENCE: "reference, same distribution: {0} ({1} images)",
        DECOYS: "decoys: pairs of moved images, on {0}",
    }
    return words[row["comparison"]].format(row["sample_set"], row["images"])


def _group(rows: pd.DataFrame, name: str, main: str) -> str:
    # The pairs mined, which every comparison but that of decoys shares.
    own = rows[(rows["group"] == name) & (rows["model"] == main) & (rows["comparison"] != DECOYS)]
    return f"{name}\n{own['pairs'].iloc[0] if len(own) else 0} pairs"


def caption(table: pd.DataFrame, mined: str, main: str) -> str:
    """The words below the figure."""
    found = set(table["comparison"])
    pooled = f"Best buddies mined on {mined} that are so on the other images too. Large marks: " + (
        "all models together; small: each model. " if main == EVERY_MODEL else f"{main}. "
    )
    intervals = "Bars: Wilson's 95 % interval, as if pairs were independent. "
    intervals += "Decoys share favourite places alone. " if DECOYS in found else ""
    if REFERENCE not in found:
        return (
            f"{pooled}{intervals}No same-distribution reference was configured: how much of the "
            "loss is due to sampling alone is not known."
        )
    if CONFIRMATION not in found:
        return (
            f"{pooled}{intervals}The other images differ by their seed alone: the level that "
            "other distributions are to be compared with."
        )
    return f"{pooled}{intervals}What the reference loses as well is lost by sampling alone."


def carry_out(a: argparse.Namespace) -> None:
    """Write the table and the figure that a command line asks for."""
    roles = [MINED, *a.comparisons]
    given: dict[str, list[Path]] = {role: [] for role in roles}
    if len(a.image_sums) != len(roles) * len(a.pairs):
        raise UserError(
            f"{len(a.image_sums)} --image-sums of {len(roles)} sample sets and {len(a.pairs)} "
            "--pairs: give those of the mined sample set, one a model, then of each of "
            "--comparisons."
        )
    for place, path in enumerate(a.image_sums):
        given[roles[place // len(a.pairs)]].append(path)
    made_of = ingredients([*a.pairs, *a.image_sums])
    table = survival_on_other_images(
        a.pairs, given, about=SIMILARITIES[a.similarity].about, resamples=a.resamples
    )
    states = [read_manifest(path) for path in a.pairs]
    first, mined = states[0]["models"][0], states[0]["sample_set"]
    figure = replication_figure(table, first, mined)
    save_figures({Path(a.output).with_suffix(""): figure}, a.identity)
    models = [first, *(state["models"][1] for state in states)]
    write_table(table, a.output, Provenance(KIND, models, mined, made_of, a.identity))
