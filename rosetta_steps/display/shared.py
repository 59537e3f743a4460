"""Questions across the zoo, answered as a table on screen."""

import argparse
from pathlib import Path

from rosetta_steps.evidence.partners import only_in, shared_by
from rosetta_steps.matching.tables import read_partners, write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.manifests import read_manifest


def carry_out(a: argparse.Namespace) -> None:
    """Answer the question of a command line."""
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
    if a.only_in:
        found = only_in(tables, a.only_in).drop(columns=["model", "best_buddy", "passes"])
        found = found.astype({"partner_channel": "Int64"})
    else:
        found = shared_by(tables, states[0]["models"][0], a.by, a.not_by)
    print(found.head(a.first).round(3).to_string(index=False))
    if len(found) > a.first:
        print(f"... {len(found) - a.first} more (--first, --output)")
    if a.output:
        write_table(found, a.output)
