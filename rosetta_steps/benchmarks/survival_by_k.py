"""How many best buddies pass each test, for several K, of a sample set that was mined.

Pairs of a smaller K are among those of the K that was mined, so that their sums over images are
there; q-values are computed anew, with decoys mined with the same K. Prints pairs of all models
that pass, and generator units with a passing pair in every model.

With --untrained the same of the untrained copies of one seed, in place of the models. Their
evidence has to be asked for, with `untrained: 1` or more in the sample set:

    snakemake results/evidence/faces/dcgan-digiface--open-nsfw.untrained-0.csv
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rosetta_steps.config.names import split_untrained
from rosetta_steps.evidence.parts import PAIR, PartsOfPairs
from rosetta_steps.evidence.survival import surviving_units
from rosetta_steps.evidence.table import evidence_of
from rosetta_steps.evidence.verdicts import TESTS, failed_badges, passed
from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.settings import NEIGHBOURS
from rosetta_steps.runtime.errors import UserError, run
from rosetta_steps.storage.datasets import open_dataset, open_tree


def evidence_with(correlations: Path, neighbours: int) -> pd.DataFrame:
    """Evidence of the best buddies of two models, mined with another K than the workflow's.

    Args:
        correlations: Store under RESULTS/correlations/SAMPLE_SET, beside the other results.
        neighbours: K, at most that with which sums over images were taken.

    Raises:
        UserError: Some pair has no sums over images.
    """
    sample_set, results = correlations.parent.name, correlations.parents[2]
    table = open_dataset(correlations)
    sums = open_dataset(results / "image_sums" / sample_set / correlations.name)
    moments = [
        open_tree(results / "moments" / sample_set / f"{table.attrs[f'model_{side}']}.zarr")
        for side in "ab"
    ]
    pairs = table_of(table, neighbours)
    measured = pd.MultiIndex.from_frame(pd.DataFrame({name: sums[name].values for name in PAIR}))
    rows = measured.get_indexer(pd.MultiIndex.from_frame(pairs[PAIR]))
    if (rows < 0).any():
        raise UserError(
            f"{correlations.name}: of {int((rows < 0).sum())} pairs with K = {neighbours} "
            "there are no sums over images, which were taken with a smaller K. Mine with that K."
        )
    return evidence_of(table, pairs, PartsOfPairs(moments), sums.isel(pair=rows), neighbours)


def counts(evidence: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Pairs, and units with a pair in every model, that pass each test and all of them."""
    rows = [("listed", {model: pd.Series(True, of.index) for model, of in evidence.items()})]
    for test in TESTS:
        needed = list(test.needs)
        if all(of[needed].notna().all(axis=1).any() for of in evidence.values()):
            failed = {
                model: of["verdict"].map(lambda v, badge=test.badge: badge in failed_badges(v))
                for model, of in evidence.items()
            }
            rows.append((test.badge, {model: ~of for model, of in failed.items()}))
    rows.append(("every test", {model: passed(of) for model, of in evidence.items()}))
    return pd.DataFrame(
        {
            "pairs": [sum(int(of.sum()) for of in survives.values()) for _, survives in rows],
            "units": [len(surviving_units(evidence, survives)) for _, survives in rows],
        },
        index=[name for name, _ in rows],
    )


def table_for(
    results: Path, sample_set: str, neighbours: Sequence[int], untrained: int | None = None
) -> pd.DataFrame:
    """Counts for each K, columns `pairs, K = 1`, `units, K = 1`, ...

    Args:
        results: Folder results/ of the workflow.
        sample_set: Name of the sample set.
        neighbours: Every K.
        untrained: Seed of the untrained copies to count; None counts the models themselves.

    Raises:
        UserError: The sample set was not mined, or no evidence of such copies was asked for.
    """
    stores = sorted((results / "correlations" / sample_set).glob("[!.]*--*.zarr"))
    stores = [path for path in stores if len(set(path.stem.split("--"))) == 2]
    stores = [p for p in stores if split_untrained(p.stem.split("--")[1])[1] == untrained]
    stores = [p for p in stores if (results / "image_sums" / sample_set / p.name).exists()]
    if not stores:
        remedy = "run snakemake dictionary" if untrained is None else "ask for their evidence"
        whose = "models" if untrained is None else f"untrained copies {untrained}"
        raise UserError(f"{results}/image_sums/{sample_set} has none of {whose}: {remedy}.")
    found = {}
    for k in neighbours:
        evidence = {path.stem.split("--")[1]: evidence_with(path, k) for path in stores}
        found[k] = counts(evidence).rename(columns=lambda what, k=k: f"{what}, K = {k}")
    return pd.concat(found.values(), axis=1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample-set", default="faces", help="default %(default)s")
    parser.add_argument("--results", type=Path, default=Path("results"), help="default %(default)s")
    parser.add_argument(
        "--neighbours", type=int, nargs="+", default=[1, NEIGHBOURS], help="default 1 and 5"
    )
    parser.add_argument("--untrained", type=int, metavar="SEED", help="count copies of this seed")
    o = parser.parse_args()
    table = table_for(o.results, o.sample_set, o.neighbours, o.untrained)
    print(table.to_string())


if __name__ == "__main__":
    run(main)
