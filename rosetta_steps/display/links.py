"""How many units of two generators are linked, drawn for print."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rosetta_steps.display.drawing import SMALL, STYLE, WIDTH, folded, new_figure
from rosetta_steps.evidence.links import COMMON, ONLY_HERE, UNCERTAIN, Linked

# Okabe and Ito's colours, which the colour-blind can tell apart.
FOUND, CHANCE = "#0072b2", "#7f7f7f"
STATUS = {COMMON: "#0072b2", UNCERTAIN: "#b3d4ea", ONLY_HERE: "#e69f00"}
LEAST = 0.05  # pairs, below which an expected number is drawn at the lower edge


def links_figure(
    found: Linked, sets: Sequence[str], layers: Sequence[Sequence[str]], level: float
) -> Figure:
    """Linked pairs by number of models, and what of each layer's concept units is common.

    Args:
        found: As evidence.links.linked gives it.
        sets: Names of both sample sets.
        layers: Layers of both generators, from the input on.
        level: Of q, up to which a link is common.
    """
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False, "axes.spines.right": False}):
        figure = new_figure(WIDTH, 2.5)
        counts, *shares = figure.subplots(1, 3, width_ratios=[1.1, 1, 1])
        _draw_counts(counts, found.counts)
        for panel, side, name, order in zip(shares, "ab", sets, layers, strict=True):
            _draw_statuses(panel, found.units[found.units["side"] == side], name, order)
        shares[0].set_ylabel("units of concepts", size=SMALL)
        figure.subplots_adjust(0.065, 0.33, 0.985, 0.84, wspace=0.28)
        figure.text(0.0, 0.15, folded(_words(sets, level), 165), size=SMALL, va="top",
                    parse_math=False)  # fmt: skip
    return figure


def _draw_counts(panel: Axes, counts: pd.DataFrame) -> None:
    places = np.arange(len(counts))
    columns = (
        ("pairs", "found", FOUND),
        ("by_chance", "if models agreed by chance", CHANCE),
    )
    for shift, (column, label, colour) in zip((-0.2, 0.2), columns, strict=True):
        values = counts[column].to_numpy(float)
        panel.bar(places + shift, np.maximum(values, LEAST), 0.38, color=colour, label=label)
        for place, value in zip(places, values, strict=True):
            text = f"{value:.0f}" if value >= 9.95 or value == int(value) else f"{value:.1f}"
            panel.annotate(text, (place + shift, max(value, LEAST)), ha="center", va="bottom",
                           fontsize=SMALL)  # fmt: skip
    panel.set_yscale("log")
    panel.set_ylim(LEAST, max(10, counts[["pairs", "by_chance"]].to_numpy().max(initial=1)) * 3)
    panel.set_xticks(places, [str(number) for number in counts.index])
    panel.set_xlabel("linked by at least so many models", size=SMALL)
    panel.set_ylabel("pairs of concepts", size=SMALL)
    panel.tick_params(labelsize=SMALL)
    panel.legend(loc="lower left", bbox_to_anchor=(-0.05, 1.0), frameon=False, fontsize=SMALL,
                 handlelength=1, labelspacing=0.2)  # fmt: skip


def _draw_statuses(panel: Axes, units: pd.DataFrame, name: str, order: Sequence[str]) -> None:
    layers = [layer for layer in order if layer in set(units["layer"])]
    counts = pd.crosstab(units["layer"], units["status"]).reindex(
        index=layers, columns=list(STATUS), fill_value=0
    )
    bottom = np.zeros(len(layers))
    for status, colour in STATUS.items():
        values = counts[status].to_numpy()
        panel.bar(range(len(layers)), values, 0.8, bottom=bottom, color=colour, label=status)
        bottom += values
    total = units["status"].value_counts()
    panel.set_title(
        f"{name}: {total.get(COMMON, 0)} common, {total.get(UNCERTAIN, 0)} uncertain,\n"
        f"{total.get(ONLY_HERE, 0)} only here", size=SMALL, loc="left"
    )  # fmt: skip
    panel.set_xticks(range(len(layers)), layers, rotation=90)
    panel.tick_params(labelsize=SMALL)
    panel.legend(frameon=False, fontsize=SMALL, handlelength=1, labelspacing=0.2)


def _words(sets: Sequence[str], level: float) -> str:
    return (
        f"Units of the generators of {sets[0]} and {sets[1]} are linked by a model where both have "
        "the same unit of it as a best buddy that passes every test. Common: by so many models "
        f"that at most {100 * level:g} % of such pairs of concepts are there by chance. Only "
        "here: by none."
    )
