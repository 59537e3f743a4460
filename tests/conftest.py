"""Small seeded activations, written and read by the real store code."""

from pathlib import Path

import numpy as np
import pytest

from rosetta_steps import moments
from rosetta_steps.activations import dump
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.maps.store import MapWriter
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.storage.manifests import Provenance

ROOT = Path(__file__).parents[1]
pytest_plugins = ["checkpoint_files"]


# Settings of eq. 5 alone, on which tests build theirs: no image is reconstructed.
EQUATION_5 = {
    "learning_rate": 0.05,
    "similarity": "pearson",
    "alpha": 0.1,
    "beta": 1.0,
    "guided": 1.0,
    "reconstruction": "none",
    "frames": 0,
}


def plain_settings(**changes) -> Settings:
    """Settings of eq. 5 alone, but for some."""
    return Settings(**(EQUATION_5 | changes))


# What stores and tables of tests say that they were made of, where nothing else is said.
SAMPLES = {"samples on samples": "of a test"}


def made(kind: str, *models: str, of: dict[str, str] = SAMPLES) -> Provenance:
    """Where an artefact of a test comes from: of some models on the same images."""
    return Provenance(kind, models, "samples", of)


def write_maps(
    store: Path,
    layers: dict[str, np.ndarray],
    images_per_shard: int = 4,
    numbers: dict[str, list[int]] | None = None,
    provenance: Provenance | None = None,
) -> Path:
    """Write arrays (image, channel, y, x) as a finished store of activations with moments."""
    images = len(next(iter(layers.values())))
    writer = MapWriter(
        store,
        {name: array.shape[1:] for name, array in layers.items()},
        images,
        images_per_shard,
        "float16",
        {"model": store.stem, "samples": "samples.zarr"},
        {name: {"layer": name} for name in layers},
        key="test",
        provenance=provenance or made("matched maps" if numbers else "activations", store.stem),
        numbers=numbers,
    )
    for block in image_blocks(images, images_per_shard):
        writer.write(block, {name: array[block] for name, array in layers.items()})
    writer.finish()
    if provenance is None:
        moments.measure(store, moments_of(store))
    return store


def dump_maps(model, zoo, samples, layers, dtype, images_per_shard, store) -> None:
    """Dump the maps of a model of a zoo on a sample set."""
    state = describe(model, zoo, samples, layers, dtype, images_per_shard)
    dump(Stream(state), images_per_shard, store)


def moments_of(store: Path) -> Path:
    """Where write_maps puts the moments of a store."""
    return store.parent / "moments" / store.name


def random_maps(seed: int, images: int, *shapes: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Post-ReLU maps with a mean far from zero, one layer for each (channels, y, x)."""
    random = np.random.default_rng(seed)
    return {
        f"layer{index}": np.maximum(random.normal(1, 2, (images, *shape)), 0).astype(np.float16)
        for index, shape in enumerate(shapes)
    }


@pytest.fixture
def two_stores(tmp_path):
    """Two models on ten images, square and rectangular maps that meet at sizes native to none."""
    a = random_maps(1, 10, (3, 4, 4), (2, 12, 30))
    b = random_maps(2, 10, (4, 20, 9), (3, 7, 7), (2, 2, 2))
    return write_maps(tmp_path / "a.zarr", a), write_maps(tmp_path / "b.zarr", b), a, b
