"""Quartiles of every term of the loss, and their figure."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from rosetta_steps.display.drawing import SMALL, STYLE, WIDTH, new_figure, save_figures
from rosetta_steps.display.panels import empty_figure
from rosetta_steps.inversion.arms import nothing_in, read_arm
from rosetta_steps.inversion.objective import TERMS
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset

# Okabe and Ito's colours, which the colour-blind can tell apart, without their yellow.
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# Medians of several hundred steps have more points than a panel has dots.
POINTS = 500


def curves(store: xr.Dataset) -> dict[str, np.ndarray]:
    """Quartiles over images of the terms of the kept starts.

    Args:
        store: Of an arm.

    Returns:
        Per term that the arm has, (quartile, step): the first, the median and the third, of the
        images that did not fail.
    """
    loss, start = store["loss"].values, store["start"].values
    kept = loss[np.arange(len(start)), start]
    kept = kept[np.isfinite(kept[:, -1, TERMS.index("total")])]
    has = {
        "reconstruction": store.attrs["reconstruction"] != "none",
        "activation": store.attrs["pairs"] > 0,
    }
    return {
        term: np.quantile(kept[:, :, place], (0.25, 0.5, 0.75), axis=0)
        for place, term in enumerate(TERMS)
        if has.get(term, True) and len(kept)
    }


def loss_curve(stores: Sequence[Path]) -> Figure:
    """A panel a term, a line an arm, the quartiles over its images as a band.

    Args:
        stores: One an arm; empty ones are left out.

    Returns:
        The figure.

    Raises:
        ValueError: A store is no arm, or none has a loss.
    """
    arms = {}
    for path in stores:
        arm = read_arm(path)
        if not arm.empty:
            arms[arm.name] = open_dataset(path)
    found = {name: curves(store) for name, store in arms.items()}
    terms = [term for term in TERMS if any(term in of for of in found.values())]
    if not terms:
        raise UserError("no arm has a loss that stayed finite, so there is no curve to draw.")
    titles = _titles(list(arms.values()))
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False, "axes.spines.right": False}):
        figure = new_figure(WIDTH, 2.1)
        panels = figure.subplots(1, len(terms), squeeze=False)[0]
        for panel, term in zip(panels, terms, strict=True):
            for place, (name, of) in enumerate(found.items()):
                if term not in of:
                    continue
                steps = np.arange(of[term].shape[1])
                shown = slice(None, None, max(1, len(steps) // POINTS))
                low, middle, high = of[term][:, shown]
                colour = COLOURS[place % len(COLOURS)]
                line = "-" if place < len(COLOURS) else "--"
                panel.plot(steps[shown], middle, line, color=colour, lw=0.9, label=name)
                panel.fill_between(steps[shown], low, high, color=colour, alpha=0.15, lw=0)
            panel.set_title(titles[term], size=7, loc="left")
            panel.set_xlabel("step")
            panel.margins(x=0)
            panel.tick_params(labelsize=SMALL)
        lines: dict[str, Any] = {}
        for panel in panels:
            handles, labels = panel.get_legend_handles_labels()
            lines |= dict(zip(labels, handles, strict=True))
        ordered = [name for name in found if name in lines]
        figure.subplots_adjust(0.06, 0.19, 0.99, 0.78, wspace=0.28)
        figure.legend(
            [lines[name] for name in ordered],
            ordered,
            loc="upper center",
            ncols=min(len(ordered), 6),
            frameon=False,
        )
    return figure


def _titles(stores: Sequence[xr.Dataset]) -> dict[str, str]:
    """What stands above a panel: the term as in eq. 5 and 7, and its form where all have one."""

    def form(name: str, absent: str | None = None) -> str:
        values = {str(store.attrs[name]) for store in stores} - {absent}
        return f", {values.pop()}" if len(values) == 1 else ""

    return {
        "total": "total loss",
        "reconstruction": f"$L_{{rec}}${form('reconstruction', 'none')}",
        "activation": f"$L_{{act}}${form('similarity')} ↑",
        "regulariser": f"$L_{{reg}}${form('norm')}",
    }


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    reasons = nothing_in(a.arms)
    figure = empty_figure(reasons) if reasons else loss_curve(a.arms)
    save_figures({a.output.with_suffix(""): figure}, a.identity)
