"""Counts of Rosetta units and concepts by K, as a Markdown table."""

from pathlib import Path
from typing import Any

import pandas as pd

from rosetta_steps.matching.best_buddies import table_of
from rosetta_steps.matching.clustering import clustering
from rosetta_steps.matching.concepts import UNIT, dictionary
from rosetta_steps.matching.settings import Clustering
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset

CLUSTERINGS = {"average": "average linkage", "components": "the paper's components"}


def summarise(
    folder: Path,
    generator: str,
    models: list[str],
    neighbours: list[int],
    min_correlation: float,
) -> str:
    """Pairs, Rosetta units, concepts, the largest, and the strongest correlations, by K.

    Args:
        folder: results/correlations/{sample_set}.
        generator: Its name.
        models: Whose correlations with the generator are there.
        neighbours: The K to try; nothing stored is changed.
        min_correlation: Of average linkage.

    Returns:
        A Markdown table.
    """
    stores = {
        name: open_dataset(folder / f"{generator}--{name}.zarr").load()
        for name in (generator, *models)
    }
    rows = []
    for k in neighbours:
        pairs = {name: table_of(store, k) for name, store in stores.items()}
        selves = pairs.pop(generator)
        row: dict[str, Any] = {"K": k}
        row |= {f"pairs {m}": len(p) for m, p in pairs.items()}
        row |= {f"strongest {m}": f"{p['correlation'].max():.3f}" for m, p in pairs.items()}
        for method, words in CLUSTERINGS.items():
            clusters = clustering(Clustering(method, min_correlation), selves, stores[generator])
            table = dictionary(generator, pairs, clusters)
            sizes = table.drop_duplicates(["concept", *UNIT]).groupby("concept").size()
            row["Rosetta units"] = int(sizes.sum())
            row[f"concepts, {words}"] = len(sizes)
            row[f"units of the largest, {words}"] = int(sizes.max()) if len(sizes) else 0
        rows.append(row)
    table = pd.DataFrame(rows).astype(str).set_index("K").T
    lines = ["| K = | " + " | ".join(table.columns) + " |", "|---" * (len(table.columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(values) + " |" for name, values in table.iterrows()]
    return "\n".join(lines)


def summary(sample_set: str, neighbours: list[int], min_correlation: float) -> str:
    """As `summarise`, of a sample set with all models that were correlated on it.

    Raises:
        ValueError: There are no correlations of it.
    """
    folder = Path("results/correlations") / sample_set
    pairs = [path.stem.split("--") for path in sorted(folder.glob("[!.]*--*.zarr"))]
    if not pairs:
        raise UserError(f"{folder} holds no correlations: run snakemake dictionary first.")
    generator = pairs[0][0]
    models = [name for _, name in pairs if name != generator]
    return summarise(folder, generator, models, neighbours, min_correlation)
