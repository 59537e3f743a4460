"""The histogram of z, and what is printed of it."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rosetta_steps.display.drawing import save_figures
from rosetta_steps.display.z_histogram import BUDDIES, histogram_of_z, summary
from rosetta_steps.evidence.parts import PAIR
from rosetta_steps.evidence.permutations import z_of
from rosetta_steps.maps.store import MapReader
from rosetta_steps.storage.manifests import identity_recorded
from rosetta_steps.testing import random_maps, write_maps


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder, maps = tmp_path_factory.mktemp("z"), random_maps(1, 60, (9, 4, 4))
    noise = random_maps(2, 60, (30, 4, 4))
    stores = [write_maps(folder / f"{n}.zarr", m) for n, m in (("a", maps), ("b", maps | noise))]
    pairs = pd.DataFrame([("layer0", 0, "layer0", 0)], columns=PAIR)
    noise["layer0"][:, :9] += 3 * maps["layer0"]
    stores[1] = write_maps(folder / "c.zarr", noise)
    return z_of([MapReader(store) for store in stores], pairs)


def test_the_figure_is_written_and_shows_best_buddies(found, tmp_path):
    save_figures({tmp_path / "a--b": histogram_of_z(found)}, "0123456789ab")
    assert identity_recorded(tmp_path / "a--b.png") == "0123456789ab"
    with Image.open(tmp_path / "a--b.png") as picture:
        shown = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    wanted = [int(BUDDIES[i : i + 2], 16) for i in (1, 3, 5)]
    assert (shown == wanted).all(1).any()


def test_the_summary_counts_decoys_beside_what_is_expected(found):
    lines = summary(found).splitlines()
    assert lines[0].startswith("270 pairs of units: median z")
    assert "1 of 1 best buddies" in lines[1]
    row = lines[3].split()
    assert row[0] == "2" and int(row[1]) == found["pairs_above"][0] and row[3] == "6.1"


def test_a_histogram_without_a_threshold_is_drawn(found):
    nothing = found.assign_attrs(threshold=float("nan")).isel(pair=slice(0))
    assert len(histogram_of_z(nothing).axes[0].lines) == 1
