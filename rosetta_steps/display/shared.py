"""Questions across the zoo, answered as a table on screen."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rosetta_steps.display.exemplars import MOST_SHOWN
from rosetta_steps.evidence.partners import only_in, shared_by
from rosetta_steps.matching.tables import read_partners, write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.manifests import read_manifest


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The units that a question finds.

    Attributes:
        question: In words.
        order: In words, which unit comes first.
        sample_set: On which it was asked.
        generator: Its generator, or first model.
        model: Whose units they are.
        others: Models whose nearest partners are shown beside them.
        units: A row a unit, with `layer` and `channel`.
        tables: Model to its partners with the generator.
    """

    question: str
    order: str
    sample_set: str
    generator: str
    model: str
    others: Sequence[str]
    units: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]


def answer(a: argparse.Namespace) -> Answer:
    """Answer the question of a command line.

    Raises:
        ValueError: There are no partners, or the question makes no sense.
    """
    folder = Path("results/partners") / a.sample_set
    paths = sorted(folder.glob("[!.]*--*.csv"))
    if not paths:
        raise UserError(
            f"{folder} holds no partners: snakemake coverage --cores all --config "
            f"sample_set={a.sample_set} finds them."
        )
    if a.first < 1:
        raise UserError(f"--first is {a.first}: give at least 1.")
    if a.only_in and a.not_by:
        raise UserError("--not-by goes with --by: leave one out.")
    states = [read_manifest(path) for path in paths]
    tables = {s["models"][1]: read_partners(p) for s, p in zip(states, paths, strict=True)}
    generator = states[0]["models"][0]
    if a.only_in:
        found = only_in(tables, a.only_in).drop(columns=["model", "best_buddy", "passes"])
        found = found.astype({"partner_channel": "Int64"})
        question = f"Units of {a.only_in} without a best buddy in {generator}"
        order = "That with the weakest nearest partner comes first."
        model, others = a.only_in, [generator]
    else:
        found = shared_by(tables, generator, a.by, a.not_by)
        question = f"Units of {generator} by what they have in {', '.join(a.by)}"
        question += f" and not in {', '.join(a.not_by)}" if a.not_by else ""
        order = "First comes the largest delta: the least r with a nearest partner in these"
        order += ", less the greatest in those." if a.not_by else "."
        model, others = generator, list(dict.fromkeys([*a.by, *a.not_by]))[:MOST_SHOWN]
    return Answer(
        question=question,
        order=order,
        sample_set=a.sample_set,
        generator=generator,
        model=model,
        others=others,
        units=found,
        tables=tables,
    )


def show(units: pd.DataFrame, first: int, output: Path | None) -> None:
    """Print the first units, and write all where a file is given."""
    print(units.head(first).round(3).to_string(index=False))
    if len(units) > first:
        print(f"... {len(units) - first} more (--first, --output)")
    if output:
        write_table(units, output)
