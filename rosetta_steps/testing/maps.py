"""Stores of small maps, written by the code that writes those of models."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rosetta_steps.maps import moments
from rosetta_steps.maps.activations import dump
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.maps.store import MapWriter
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.storage.manifests import Provenance

# What stores and tables of tests say that they were made of, where nothing else is said.
SAMPLES = {"samples on samples": "of a test"}


def made(kind: str, *models: str, of: Mapping[str, str] = SAMPLES) -> Provenance:
    """The provenance of an artefact in a test: some models on one sample set.

    Args:
        kind: Of artefact, such as "activations".
        models: Names of the models that it is of.
        of: Name to digest of what it was made of. Artefacts are read together if they agree.
    """
    return Provenance(kind, models, "samples", of)


def random_maps(seed: int, images: int, *shapes: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Maps after a ReLU with a mean far from zero, as those of networks have.

    Args:
        seed: The same one gives the same maps.
        images: How many.
        shapes: Of each layer (channels, y, x); the layers are called layer0, layer1, ...

    Returns:
        Of each layer (image, channel, y, x) float16.
    """
    random = np.random.default_rng(seed)
    return {
        f"layer{index}": np.maximum(random.normal(1, 2, (images, *shape)), 0).astype(np.float16)
        for index, shape in enumerate(shapes)
    }


def write_maps(
    store: Path,
    layers: Mapping[str, np.ndarray],
    images_per_shard: int = 4,
    numbers: Mapping[str, Sequence[int]] | None = None,
    provenance: Provenance | None = None,
) -> Path:
    """Write arrays as a finished store of maps in float16, with its moments beside it.

    Args:
        store: X.zarr to write, of a model X. Its moments become moments/X.zarr in the same folder
            (moments_of).
        layers: Of each layer (image, channel, y, x), in the order of the forward pass; as many
            images in all of them.
        images_per_shard: Images in a file.
        numbers: Channels of each layer that these are, where it is a store of matched units; None:
            all of them.
        provenance: Where the store says it comes from; moments are then not measured.

    Returns:
        The path of the store.

    Raises:
        StoreError: The disk is full.
        ValueError: Shapes that do not fit each other, or values that are not finite.
    """
    store = Path(store)
    counts = {name: len(array) for name, array in layers.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"{store}: layers of as many images are wanted, not {counts}")
    images = next(iter(counts.values()))
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


def moments_of(store: Path) -> Path:
    """Where write_maps puts the moments of a store."""
    return store.parent / "moments" / store.name


def dump_maps(
    model: str,
    zoo: str | Path,
    samples: Path,
    layers: str | list[str],
    dtype: str,
    images_per_shard: int,
    store: Path,
) -> None:
    """Run a model of a zoo on a sample set and write its maps, as the step activations does.

    Args:
        model: Its name in the zoo.
        zoo: YAML file of entries.
        samples: Sample set (.zarr).
        layers: "all", a preset of the entry, or patterns of names.
        dtype: float16 or float32.
        images_per_shard: Images in a file.
        store: X.zarr to write.

    Raises:
        ValueError: A bad model, weights or layers, or maps that are not finite.
        StoreError: The sample set is damaged, or the disk is full.
    """
    state = describe(model, zoo, samples, layers, dtype, images_per_shard)
    dump(Stream(state), images_per_shard, store)
