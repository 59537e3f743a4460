"""Table 1 as text to read in a log or to paste into a paper."""

from collections.abc import Sequence

import pandas as pd

from rosetta_steps.inversion.metrics import Metric


def markdown(table: pd.DataFrame, metrics: Sequence[Metric]) -> str:
    """Means as an aligned Markdown table; arrows point to where better is.

    Args:
        table: As comparison.means returns it.
        metrics: Its columns.
    """
    arrows = ["↑" if metric.higher_is_better else "↓" for metric in metrics]
    titles = [f"{m.title} {arrow}" for m, arrow in zip(metrics, arrows, strict=True)]
    rows = [["method", *titles, "images"], *_cells(table, metrics)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def latex(table: pd.DataFrame, metrics: Sequence[Metric]) -> str:
    """Means as rows of a LaTeX tabular, its header among them.

    Args:
        table: As comparison.means returns it.
        metrics: Its columns.
    """
    arrows = [r"$\uparrow$" if metric.higher_is_better else r"$\downarrow$" for metric in metrics]
    titles = [f"{m.title} {arrow}" for m, arrow in zip(metrics, arrows, strict=True)]
    rows = [["", *titles, "images"], *_cells(table, metrics)]
    return "\n".join(" & ".join(row).replace("_", r"\_") + r" \\" for row in rows)


def comparisons_in_words(compared: pd.DataFrame, metrics: Sequence[Metric], baseline: str) -> str:
    """Differences from the baseline, a line an arm and metric.

    Args:
        compared: As table.comparisons returns them.
        metrics: Those compared.
        baseline: Name of the arm.
    """
    lines, decimals = [], {metric.label: metric.digits for metric in metrics}
    for row in compared[compared["better"].notna()].itertuples():
        digits = decimals[row.metric]
        low, high = f"{row.difference_low:+.{digits}f}", f"{row.difference_high:+.{digits}f}"
        lines.append(
            f"{row.method}, {row.metric}: {row.difference:+.{digits}f} [{low}, {high}], "
            f"p {row.p_t:.2g} (t), {row.p_wilcoxon:.2g} (Wilcoxon), "
            f"better on {row.better} of {row.images} images"
        )
    if not lines:
        return f"There is no arm to compare with {baseline}."
    return "\n".join([f"Against {baseline}, with 95 % intervals:", *lines])


def _cells(table: pd.DataFrame, metrics: Sequence[Metric]) -> list[list[str]]:
    cells = []
    for row in table.to_dict("records"):
        values = [
            "-" if pd.isna(value := row[m.label]) else f"{value:.{m.digits}f}" for m in metrics
        ]
        cells.append([row["method"], *values, str(row["images"])])
    return cells
