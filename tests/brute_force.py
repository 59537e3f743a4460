"""The correlation of two stores, and what it should be by equation 2 as written."""

import itertools

import numpy as np
import torch
import xarray as xr

from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.correlation.step import correlate
from rosetta_steps.maps.resampling import comparison_size
from rosetta_steps.testing import moments_of


def upsample(maps: np.ndarray, size) -> np.ndarray:
    """Bilinear upsampling by torch, in float64."""
    tensor = torch.from_numpy(maps.astype(np.float64))
    return torch.nn.functional.interpolate(tensor, size, mode="bilinear").numpy()


def brute_force(a: dict, b: dict) -> np.ndarray:
    """Eq. 2 as written: both maps upsampled to the larger size, one pair at a time, float64."""
    units = []
    for layers in (a, b):
        units.append([m[:, [c]] for m in layers.values() for c in range(m.shape[1])])
    table = np.empty((len(units[0]), len(units[1])))
    for (i, left), (j, right) in itertools.product(enumerate(units[0]), enumerate(units[1])):
        size = comparison_size(left.shape[2:], right.shape[2:])
        x, y = (upsample(m, size).ravel() for m in (left, right))
        table[i, j] = np.nan if np.ptp(left) == 0 or np.ptp(right) == 0 else np.corrcoef(x, y)[0, 1]
    return table


def run(a, b, output, **settings):
    if "memory_gb" in settings:
        settings["gpu_memory_gb"] = settings["memory_gb"]
    own = {
        name: settings.pop(name) for name in ("nearest", "workers", "samples") if name in settings
    }
    chosen = Correlation(**settings)
    correlate(a, b, moments_of(a), moments_of(b), output, settings=chosen, threads=2, **own)
    return xr.open_zarr(output)
