"""Seconds and memory of what grows with the number of models, on made-up tables of best buddies.

Each model gets PAIRS best buddies of UNITS units of a generator; every model has a partner for the
same tenth of them, so that there are Rosetta units. Tables are written and read as the workflow
does, the dictionary is put together and its concepts are chosen for the page.

    python -m rosetta_steps.benchmarks.many_models 10 100 1000
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from rosetta_steps.display.exemplars import choose_concepts, shown_models
from rosetta_steps.matching.concepts import dictionary
from rosetta_steps.matching.tables import read_best_buddies, read_dictionary, write_table
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.manifests import Provenance

UNITS, PAIRS, LAYERS = 1000, 1500, 50
SHARED = UNITS // 10  # units of the generator with a partner in every model


def buddies_of(seed: int) -> pd.DataFrame:
    """Made-up best buddies of the generator with a model."""
    random = np.random.default_rng(seed)
    ours = np.concatenate([np.arange(SHARED), random.integers(SHARED, UNITS, PAIRS - SHARED)])
    pairs = pd.DataFrame(
        {
            "layer_a": "main",
            "channel_a": ours,
            "layer_b": [f"blocks.{layer}" for layer in random.integers(0, LAYERS, PAIRS)],
            "channel_b": random.integers(0, 300, PAIRS),
            "correlation": random.uniform(0.1, 0.8, PAIRS).astype(np.float32),
            "rank_a": random.integers(1, 6, PAIRS),
            "rank_b": random.integers(1, 6, PAIRS),
        }
    )
    return pairs.drop_duplicates(["channel_a", "layer_b", "channel_b"])


def measure(models: int, folder: Path) -> dict[str, float]:
    """Seconds of each stage for a number of models, and bytes of rosetta.csv.

    Args:
        models: Their number.
        folder: Empty folder.
    """
    names = [f"model-{number:04}" for number in range(models)]
    seconds: dict[str, float] = {}
    begin = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal begin
        now = time.perf_counter()
        seconds[stage], begin = now - begin, now

    for number, name in enumerate(names):
        made = Provenance("best_buddies", ["generator", name], "made-up", {}, None)
        write_table(buddies_of(number), folder / f"{name}.csv", made)
    begin = time.perf_counter()
    tables = {name: read_best_buddies(folder / f"{name}.csv") for name in names}
    lap("reading best buddies")
    rows = dictionary("generator", tables, lambda units: np.arange(len(units)) % (SHARED // 2))
    lap("concepts")
    made = Provenance("dictionary", ["generator", *names], "made-up", {}, None)
    write_table(rows, folder / "rosetta.csv", made)
    lap("writing rosetta.csv")
    rows = read_dictionary(folder / "rosetta.csv")
    lap("reading rosetta.csv")
    concepts = choose_concepts(rows, names)
    shown = shown_models(concepts, names)
    lap("choosing what is shown")
    size = (folder / "rosetta.csv").stat().st_size / 1e6
    return seconds | {"MB of rosetta.csv": size, "models shown": len(shown)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Stages that grow with the number of models.")
    parser.add_argument("models", nargs="+", type=int, help="numbers of models")
    a = parser.parse_args()
    columns = {}
    for models in a.models:
        with tempfile.TemporaryDirectory() as folder:
            columns[models] = measure(models, Path(folder))
    print("| |", " | ".join(f"{models} models" for models in columns), "|")
    print("|---|", " | ".join("---" for _ in columns), "|")
    for stage in next(iter(columns.values())):
        print(f"| {stage} |", " | ".join(f"{one[stage]:.3g}" for one in columns.values()), "|")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\nPeak memory of all: {peak:.2f} GB")


if __name__ == "__main__":
    run(main)
