"""How much of each layer is shared, drawn for print."""

import argparse
import math
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rosetta_steps.display.drawing import SMALL, STYLE, WIDTH, folded, new_figure, save_figures
from rosetta_steps.display.exemplars import MOST_SHOWN
from rosetta_steps.evidence.coverage import coverage
from rosetta_steps.evidence.partners import KIND as PARTNERS
from rosetta_steps.matching.tables import read_partners, write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest

KIND = "coverage"
# Okabe and Ito's colours, which the colour-blind can tell apart.
SHARED, PASSING, CHANCE = "#0072b2", "#d55e00", "#7f7f7f"
COLUMNS = 5  # panels beside each other, at most
HEIGHT = 1.25  # inches of a panel, with its title and the numbers below


def coverage_figure(table: pd.DataFrame) -> Figure:
    """Share of each layer that is shared, by depth, a panel a model.

    Args:
        table: As evidence.coverage.coverage gives it.

    Returns:
        The figure: the generator, first for some model and then for all, and at most MOST_SHOWN
        models.
    """
    generator, *models = dict.fromkeys(table["model"])
    panels = [(generator, 1)] + ([(generator, len(models))] if len(models) > 1 else [])
    panels += [(model, 1) for model in models[:MOST_SHOWN]]
    columns = len(panels) if len(panels) <= COLUMNS else COLUMNS - 1
    rows = math.ceil(len(panels) / columns)
    # Far fewer units of a model are shared than of the generator: each kind has a scale of its own.
    of_models = table[table["model"] != generator]
    highest = (of_models["shared"] / of_models["units"].clip(lower=1)).max() if models else 1.0
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False, "axes.spines.right": False}):
        figure = new_figure(WIDTH, rows * HEIGHT + 0.7)
        grid = figure.subplots(rows, columns, squeeze=False)
        for panel in grid.flat[len(panels) :]:
            panel.set_visible(False)
        for panel, (model, least) in zip(grid.flat, panels, strict=False):
            own = table[(table["model"] == model) & (table["at_least"] == least)]
            _draw(panel, own, _title(model, least, generator, len(models)))
            top = 1.0 if model == generator else max(highest, 0.05)
            panel.set_ylim(-0.03 * top, 1.05 * top)
        for panel in grid[:, 0]:
            panel.set_ylabel("share of units")
        height = figure.get_size_inches()[1]
        figure.subplots_adjust(
            0.065, 0.5 / height, 0.985, 1 - 0.5 / height, wspace=0.3, hspace=0.75
        )
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=3, loc="upper left", frameon=False, fontsize=SMALL,
                      bbox_to_anchor=(0.05, 1.0))  # fmt: skip
        figure.text(0.0, 0.26 / height, folded(_words(generator, models), 165), size=SMALL,
                    va="top", parse_math=False)  # fmt: skip
    return figure


def _title(model: str, least: int, generator: str, models: int) -> str:
    if model != generator:
        return model
    if models == 1:
        return f"{model}, in the model"
    return f"{model}, in {'some model' if least == 1 else f'all {models} models'}"


def _draw(panel: Axes, rows: pd.DataFrame, title: str) -> None:
    units = rows["units"].clip(lower=1)
    style: dict[str, Any] = {"ms": 2, "lw": 0.8}
    panel.plot(
        rows["depth"], rows["shared"] / units, "o-", color=SHARED, label="best buddy", **style
    )
    panel.plot(rows["depth"], rows["passing"] / units, "s-", color=PASSING,
               label="best buddy that passes every test", **style)  # fmt: skip
    panel.plot(rows["depth"], rows["by_chance"] / units, "--", color=CHANCE, lw=0.8,
               label="by chance (images moved)")  # fmt: skip
    share = rows["shared"].sum() / max(1, rows["units"].sum())
    panel.set_title(f"{title}\n{share:.0%} of {rows['units'].sum()} units", size=SMALL, loc="left")
    panel.set_xticks([0, 1], ["first", "last layer"])
    panel.tick_params(labelsize=SMALL, labelbottom=True)
    panel.grid(axis="y", lw=0.3, alpha=0.5)


def _words(generator: str, models: list[str]) -> str:
    more = len(models) - MOST_SHOWN
    left = f" {more} more models are in the table." if more > 0 else ""
    return (
        f"Units of each layer with a best buddy: of {generator} in the models, of a model in "
        f"{generator}. By chance: the same mining where one model's images were moved.{left}"
    )


def carry_out(a: argparse.Namespace) -> None:
    """Write the table and the figure that a command line asks for."""
    states = [read_manifest(path) for path in a.partners]
    if unlike := sorted({s["name"] for s in states if not s["name"].startswith(PARTNERS)}):
        raise UserError(f"{unlike[0]} is no table of partners.")
    generator = states[0]["models"][0]
    models = [state["models"][1] for state in states]
    tables = {m: read_partners(path) for m, path in zip(models, a.partners, strict=True)}
    table = coverage(tables, generator)
    made_of = ingredients(a.partners)
    save_figures({Path(a.output).with_suffix(""): coverage_figure(table)}, a.identity)
    provenance = Provenance(
        KIND, [generator, *models], states[0]["sample_set"], made_of, a.identity
    )
    write_table(table, a.output, provenance)
