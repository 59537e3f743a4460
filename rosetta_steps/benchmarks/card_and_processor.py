"""How far correlations of the same sample set differ between two folders of results.

One was made on a card and one on the processor, by the same config:

    python -m rosetta_steps.benchmarks.card_and_processor card/results processor/results faces-quick
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from rosetta_steps.runtime.errors import UserError, run
from rosetta_steps.storage.datasets import open_dataset


def differences(one: Path, other: Path, sample_set: str) -> pd.DataFrame:
    """Compare the correlations of every pair of models.

    Args:
        one: Folder of results.
        other: Another, with the correlations of the same pairs.
        sample_set: Its name.

    Returns:
        pair, correlations (how many are compared), largest, mean (absolute differences), only_one
        (correlations that are not a number in one folder only).

    Raises:
        ValueError: There are none, or units differ.
        StoreError: A store of the other folder is missing or damaged.
    """
    rows = []
    for store in sorted((one / "correlations" / sample_set).glob("[!.]*.zarr")):
        a, b = (
            open_dataset(root / "correlations" / sample_set / store.name) for root in (one, other)
        )
        for side in ("layer_a", "channel_a", "layer_b", "channel_b"):
            if not a[side].equals(b[side]):
                raise UserError(f"{store.name}: the units of {one} and {other} differ in {side}.")
        left, right = a["correlation"].values, b["correlation"].values
        apart = np.abs(left.astype(np.float64) - right)
        only_one = int((np.isnan(left) != np.isnan(right)).sum())
        compared = apart[~np.isnan(apart)]
        if not len(compared):
            raise UserError(f"{store.name}: no correlation is a number in both folders.")
        rows.append((store.stem, len(compared), compared.max(), compared.mean(), only_one))
    if not rows:
        raise UserError(f"{one} has no correlations of {sample_set}.")
    return pd.DataFrame(rows, columns=["pair", "correlations", "largest", "mean", "only_one"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("one", type=Path, help="folder of results")
    parser.add_argument("other", type=Path, help="another")
    parser.add_argument("sample_set", help="name of the sample set")
    parser.add_argument(
        "--at-most",
        type=float,
        help="fail where a difference is larger, or a correlation is a number in one folder only",
    )
    parser.add_argument("--mean-at-most", type=float, help="fail where their mean is larger")
    a = parser.parse_args()
    found = differences(a.one, a.other, a.sample_set)
    print(found.to_string(index=False, float_format="{:.3g}".format))
    largest, mean = found["largest"].max(), found["mean"].max()
    if a.at_most is not None and (largest > a.at_most or found["only_one"].any()):
        raise UserError(
            f"the largest difference is {largest:.3g}, and may be {a.at_most:g}; "
            f"{found['only_one'].sum()} correlations are a number in one folder only."
        )
    if a.mean_at_most is not None and mean > a.mean_at_most:
        raise UserError(f"the mean difference is {mean:.3g}, and may be {a.mean_at_most:g}.")


if __name__ == "__main__":
    run(main)
