"""The part of the page on trust that compares models with their untrained copies."""

import re
from collections.abc import Mapping
from html import escape

import pandas as pd

from rosetta_steps.evidence.untrained import COUNT

# Figures that the page shows, in order; the table in results/untrained has more.
SHOWN = (
    r"K = 1: strongest r",
    r"K = 1: r at rank (10|25|50|100)",
    r"K = \d+: pairs( above r = .*)?",
)
STRONG = re.compile(r"K = 1: pairs above r = (.*)")


def untrained_section(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the section; empty where no model was compared with untrained copies.

    Args:
        tables: Columns UNTRAINED of matching.tables, by model.
    """
    if not tables:
        return ""
    parts = "\n".join(_model(model, table) for model, table in tables.items())
    return f"""<h2>Trained and untrained</h2>
<p>The same mining with the same networks and random weights. At equal rank: r of the n-th
strongest pair of each, because a network with more pairs brings in weaker ones. The share is what
an untrained copy would give, on average, of the pairs that strong.</p>
{parts}"""


def _model(model: str, table: pd.DataFrame) -> str:
    order = [next((n for n, p in enumerate(SHOWN) if re.fullmatch(p, f)), -1) for f in table.figure]
    shown = table.assign(order=order).query("order >= 0").sort_values("order", kind="stable")
    rows = "\n".join(_row(row) for row in shown.itertuples(index=False))
    copies = int(table["networks"].max())
    words = f"{copies} untrained cop{'y' if copies == 1 else 'ies'}: mean (range)"
    return f"""<h3>{escape(model)}</h3>
<div class="scroll"><table><thead><tr><th></th><th>trained</th><th>{words}</th><th>share</th></tr>
</thead><tbody>
{rows}
</tbody></table></div>
{_sentence(table)}"""


def _row(row) -> str:
    cell = _number(row.untrained_mean, row.kind)
    if row.untrained_lowest < row.untrained_highest:
        lowest, highest = (
            f"{value:.0f}" if row.kind == COUNT else _number(value, row.kind)
            for value in (row.untrained_lowest, row.untrained_highest)
        )
        cell += f" <small>({lowest} to {highest})</small>"
    share = "" if row.share != row.share else f"{100 * row.share:.0f} %"
    own = f"{row.trained:.0f}" if row.kind == COUNT else _number(row.trained, row.kind)
    cells = (own, cell, share)
    return (
        f"<tr><th scope='row'>{escape(row.figure)}</th>"
        + "".join(f'<td class="number">{text}</td>' for text in cells)
        + "</tr>"
    )


def _sentence(table: pd.DataFrame) -> str:
    """Return the shares of strong pairs at K = 1 in words."""
    strong = [
        (found[1], row)
        for row in table.itertuples(index=False)
        if (found := STRONG.fullmatch(row.figure)) and row.trained > 0
    ]
    if not strong:
        return ""
    words = " and ".join(
        f"{100 * row.share:.0f} % of the {row.trained:.0f} above r = {level}"
        for level, row in strong
    )
    return f'<p class="soft">Of the pairs at K = 1 an untrained copy would give {words}.</p>'


def _number(value: float, kind: str) -> str:
    if value != value:
        return "none"
    return f"{value:.1f}" if kind == COUNT else f"{value:.3f}"
