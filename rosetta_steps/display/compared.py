"""Two dictionaries side by side, drawn for print."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rosetta_steps.display.drawing import SMALL, STYLE, WIDTH, folded, new_figure, save_figures
from rosetta_steps.matching.compared import (
    CHANGED,
    GONE,
    KEPT,
    MERGED,
    NEW,
    SPLIT,
    SURVIVES,
    compared,
    in_words,
)
from rosetta_steps.matching.tables import read_dictionary, write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.manifests import read_manifest

# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = {
    KEPT: "#0072b2",
    CHANGED: "#56b4e9",
    MERGED: "#e69f00",
    SPLIT: "#e69f00",
    GONE: "#bbbbbb",
    NEW: "#009e73",
}
PARTS = {"A": (KEPT, CHANGED, MERGED, GONE), "B": (KEPT, CHANGED, SPLIT, NEW)}
LETTERS = 84  # that the longer bar has room for


def comparison_figure(table: pd.DataFrame, about: Sequence[str]) -> Figure:
    """Draw what became of the concepts, and the strength of those that survive.

    Args:
        table: As matching.compared.compared gives it.
        about: What A and B are, in a few words each.

    Returns:
        The figure: a bar a dictionary on the left, a point a surviving concept on the right.
    """
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False, "axes.spines.right": False}):
        figure = new_figure(WIDTH, 2.5)
        bars, strengths = figure.subplots(1, 2, width_ratios=[1.9, 1])
        _draw_bars(bars, table)
        _draw_strengths(strengths, table)
        figure.subplots_adjust(0.04, 0.35, 0.985, 0.9, wspace=0.2)
        words = f"A: {about[0]}. B: {about[1]}. {' '.join(in_words(table).splitlines())}"
        figure.text(0.0, 0.16, folded(words, 165), size=SMALL, va="top", parse_math=False)
    return figure


def _draw_bars(panel: Axes, table: pd.DataFrame) -> None:
    count = table["status"].value_counts()
    longest = max(sum(count.get(status, 0) for status in parts) for parts in PARTS.values())
    for place, parts in enumerate(PARTS.values()):
        left = 0
        for status in parts:
            width = int(count.get(status, 0))
            text = f" {width} {status} "
            panel.barh(-place, width, left=left, height=0.66, color=COLOURS[status])
            if width * LETTERS > longest * len(text):
                ink = "white" if status == KEPT else "black"
                at = (left + width / 2, -place)
                panel.annotate(text, at, ha="center", va="center", color=ink,
                               fontsize=SMALL)  # fmt: skip
            left += width
    panel.set_yticks([-place for place in range(len(PARTS))], list(PARTS))
    panel.tick_params(labelsize=SMALL)
    panel.set_xlabel("concepts")
    panel.set_xlim(0, max(1, longest))
    handles = [
        matplotlib.patches.Patch(color=COLOURS[s]) for s in (KEPT, CHANGED, MERGED, GONE, NEW)
    ]
    labels = [KEPT, CHANGED, f"{MERGED} / {SPLIT}", GONE, NEW]
    panel.legend(handles, labels, ncols=5, loc="upper left", bbox_to_anchor=(-0.01, 1.16),
                 frameon=False, fontsize=SMALL, handlelength=1, columnspacing=1)  # fmt: skip


def _draw_strengths(panel: Axes, table: pd.DataFrame) -> None:
    own = table[table["status"].isin(SURVIVES)]
    same = own["concept_id_a"] == own["concept_id_b"]
    for rows, label, face in ((own[same], "same id", "#0072b2"), (own[~same], "other id", "none")):
        panel.scatter(
            rows["strength_a"], rows["strength_b"], s=6, facecolors=face, edgecolors="#0072b2",
            linewidths=0.6, label=label,
        )  # fmt: skip
    panel.axline((0, 0), slope=1, color="0.6", lw=0.6, zorder=0)
    ends = own[["strength_a", "strength_b"]].to_numpy()
    low, high = (ends.min(), ends.max()) if len(own) else (0.0, 1.0)
    margin = 0.04 * max(high - low, 0.1)
    panel.set_xlim(low - margin, high + margin)
    panel.set_ylim(low - margin, high + margin)
    panel.set_aspect("equal", "box")
    panel.set_xlabel("strength in A")
    panel.set_ylabel("strength in B")
    panel.tick_params(labelsize=SMALL)
    panel.legend(loc="upper left", frameon=False, fontsize=SMALL, handletextpad=0.1)


def table_of(given: str) -> Path:
    """Return the path of a dictionary, given by it or by the name of its sample set.

    Raises:
        ValueError: There is neither; the message names what there is.
    """
    path = Path(given)
    if path.suffix == ".csv" and path.is_file():
        return path
    own = Path("results/dictionary", given, "rosetta.csv")
    if own.is_file():
        return own
    known = sorted(found.parent.name for found in Path("results/dictionary").glob("*/rosetta.csv"))
    raise UserError(
        f"{given} is neither a rosetta.csv nor a sample set with a dictionary in this folder "
        f"(there are {', '.join(known) or 'none'})."
    )


def about(path: Path) -> str:
    """Say in a few words what a dictionary is of."""
    state = read_manifest(path)
    return f"{state['sample_set']}, {', '.join(state['models'][1:])}"


def carry_out(a: argparse.Namespace) -> None:
    """Compare the two dictionaries that a command line names."""
    paths = [table_of(given) for given in (a.a, a.b)]
    tables = [read_dictionary(path) for path in paths]
    states = [read_manifest(path) for path in paths]
    generators = [state["models"][0] for state in states]
    if generators[0] != generators[1]:
        raise UserError(
            f"{paths[0]} is of {generators[0]} and {paths[1]} of {generators[1]}: concepts are "
            "compared by the units of one generator."
        )
    table = compared(*tables)
    words = a.names or [about(path) for path in paths]
    for name, path, word in zip("AB", paths, words, strict=True):
        print(f"{name}: {path} ({word})")
    print(in_words(table))
    if a.output is None:
        return
    save_figures({a.output.with_suffix(""): comparison_figure(table, words)})
    write_table(table, a.output)
