"""How often target-decoy finds a match where there is none, on real maps.

The images of one model are permuted, so that nothing is shared but what all images share, and best
buddies are mined and tested against a decoy as `rosetta_steps.evidence` does. Whatever passes is
false. The maps are those of matched units, at 8 x 8 positions; --units of each model are drawn anew
for each run. Pairs pass by q of r, or by q of what is left without mean maps.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import adaptive_avg_pool2d
from tqdm import tqdm

from rosetta_steps.correlation.decoys import moved_images
from rosetta_steps.evidence.chance import q_values
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.best_buddies import best_buddies
from rosetta_steps.matching.nearest import nearest
from rosetta_steps.matching.settings import NEIGHBOURS
from rosetta_steps.runtime.errors import run

CELLS = 8  # of a side


def pooled_maps(store: Path, images: int) -> np.ndarray:
    """All maps of a store at one size, (unit, image, position) float32."""
    reader = MapReader(store)
    found = []
    for layer in tqdm(reader.layers, f"maps of {store.stem}", unit="layer"):
        maps = torch.from_numpy(reader.read(layer, slice(0, images)).astype(np.float32))
        pooled = adaptive_avg_pool2d(maps, CELLS) if min(maps.shape[2:]) > CELLS else maps
        large = torch.nn.functional.interpolate(pooled, (CELLS, CELLS), mode="bilinear")
        found.append(large.transpose(0, 1).flatten(2).numpy())
    return np.concatenate(found)


def correlated(a: np.ndarray, b: np.ndarray, without_mean_maps: bool) -> np.ndarray:
    """Correlations of all units of two models, (unit_a, unit_b); maps (unit, image, position)."""
    rows = []
    for maps in (a, b):
        about = maps.mean(1, keepdims=True) if without_mean_maps else 0
        flat = (maps - about).reshape(len(maps), -1)
        flat = flat - flat.mean(1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            rows.append(flat / np.linalg.norm(flat, axis=1, keepdims=True))
    return rows[0] @ rows[1].T


def mined(table: np.ndarray, neighbours: int) -> np.ndarray:
    """Values of the best buddies of a table."""
    pairs = best_buddies(nearest(table, neighbours), nearest(table.T, neighbours))
    return pairs["correlation"].to_numpy()


def false_discoveries(
    maps: tuple[np.ndarray, np.ndarray],
    *,
    runs: int,
    units: int,
    level: float,
    neighbours: int = NEIGHBOURS,
) -> pd.DataFrame:
    """Pairs that pass although the images of one model were permuted.

    Args:
        maps: Of both models, (unit, image, position).
        runs: Number of permutations.
        units: Number of units of each model in a run.
        level: Largest q-value that passes.
        neighbours: K.

    Returns:
        A row a run and statistic: statistic ("r", "left"), listed (best buddies), passed.
    """
    random, images = np.random.default_rng(0), maps[0].shape[1]
    rows = []
    for number in tqdm(range(runs), "permuted runs", unit="run"):
        a, b = (m[random.choice(len(m), min(units, len(m)), replace=False)] for m in maps)
        b = b[:, random.permutation(images)]
        moved = b[:, moved_images(slice(number, number + images), 1)[0]]
        for statistic in ("r", "left"):
            values, decoy = (
                mined(correlated(a, of, statistic == "left"), neighbours) for of in (b, moved)
            )
            passed = int((q_values(values, [decoy]) <= level).sum())
            rows.append({"statistic": statistic, "listed": len(values), "passed": passed})
    return pd.DataFrame(rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--a", type=Path, required=True, help="matched maps of the generator")
    parser.add_argument("--b", type=Path, required=True, help="matched maps of a model")
    parser.add_argument("--runs", type=int, default=200, help="default %(default)s")
    parser.add_argument("--units", type=int, default=150, help="of each model, default %(default)s")
    parser.add_argument("--images", type=int, default=200, help="default %(default)s")
    parser.add_argument("--level", type=float, default=0.05, help="default %(default)s")
    o = parser.parse_args()
    maps = (pooled_maps(o.a, o.images), pooled_maps(o.b, o.images))
    table = false_discoveries(maps, runs=o.runs, units=o.units, level=o.level)
    error = 2 * np.sqrt(o.level * (1 - o.level) / o.runs)
    print(f"nominal: at most {o.level:.3f} of the runs, give or take {error:.3f} (two errors)")
    for statistic, of in table.groupby("statistic"):
        share = (of["passed"] > 0).mean()
        print(
            f"{statistic}: {of['listed'].mean():.0f} best buddies a run, any passes in {share:.3f} "
            f"of {len(of)} runs, {of['passed'].sum()} pairs in all"
        )


if __name__ == "__main__":
    run(main)
