"""Hold stored correlations against eq. 2 as written: both maps upsampled, in float64."""

import argparse
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from rosetta_steps.errors import run
from rosetta_steps.resampling import comparison_size
from rosetta_steps.stores import MapReader, check_dataset


def largest_difference(correlations: Path, a: Path, b: Path, pairs: int, seed: int) -> float:
    """Largest |stored - brute force| over random pairs of units, drawn evenly over layer pairs.

    Args:
        correlations: Store of {a}--{b}.
        a: Activations of the first model; b: of the second. Of stores of matched units, these
            are drawn from.
        pairs: Number of pairs.
        seed: Of the draw.

    Raises:
        ValueError: One of the two is NaN and the other is not.
    """
    stored = xr.open_zarr(check_dataset(correlations))
    table, stores = stored["correlation"].values, [MapReader(a), MapReader(b)]
    units_of = []
    for side in "ab":
        names = zip(stored[f"layer_{side}"].values, stored[f"channel_{side}"].values, strict=True)
        units_of.append({(layer, int(channel)): i for i, (layer, channel) in enumerate(names)})
    random = np.random.default_rng(seed)
    worst = 0.0
    for _ in tqdm(range(pairs), desc="pairs", unit="pair"):
        maps, units = [], []
        for store, unit_of in zip(stores, units_of, strict=True):
            layer = random.choice(store.layers)
            place = int(random.integers(store.channels[layer]))
            units.append(unit_of[layer, int(store.numbers(layer)[place])])
            values = store.arrays[layer][:, place : place + 1]
            maps.append(torch.from_numpy(values).double())
        size = comparison_size(*(m.shape[2:] for m in maps))
        large = [torch.nn.functional.interpolate(m, size, mode="bilinear").ravel() for m in maps]
        never = any(bool(m.min() == m.max()) for m in maps)
        expected = np.nan if never else float(torch.corrcoef(torch.stack(large))[0, 1])
        found = float(table[units[0], units[1]])
        if np.isnan(found) != np.isnan(expected):
            raise ValueError(f"{correlations}: units {units} are {found}, expected {expected}.")
        worst = max(worst, 0.0 if never else abs(found - expected))
    return worst


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample-set", default="faces", help="default %(default)s")
    parser.add_argument("--folder", type=Path, default=Path("results"), help="default %(default)s")
    parser.add_argument("--pairs", type=int, default=250, help="of each table, default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    o = parser.parse_args()
    tables = sorted((o.folder / "correlations" / o.sample_set).glob("[!.]*--*.zarr"))
    if not tables:
        raise ValueError(
            f"{o.folder}/correlations/{o.sample_set} holds no table: run the workflow first."
        )
    for table in tables:
        if "correlation" not in xr.open_zarr(table):
            print(f"{table.stem}: only the nearest partners were kept, there is no table to hold")
            continue
        maps = [
            o.folder / "activations" / o.sample_set / f"{name}.zarr"
            for name in table.stem.split("--")
        ]
        worst = largest_difference(table, *maps, o.pairs, o.seed)
        print(f"{table.stem}: largest difference over {o.pairs} random pairs {worst:.1e}")


if __name__ == "__main__":
    run(main)
