"""Small stores of maps, written by the same code as those of models."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rosetta_steps.maps import moments
from rosetta_steps.maps.activations import dump
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.maps.store import MapWriter
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.storage.manifests import Provenance

# Default inputs that the manifests of stores and tables in tests name.
SAMPLES = {"samples on samples": "of a test"}


def made(kind: str, *models: str, of: Mapping[str, str] = SAMPLES) -> Provenance:
    """Return the provenance of an artefact in a test, for some models on one sample set.

    Args:
        kind: Kind of artefact, such as "activations".
        models: Names of the models that it describes.
        of: Names and digests of its inputs. Artefacts can be read together if these agree.
    """
    return Provenance(kind, models, "samples", of)


def random_maps(seed: int, images: int, *shapes: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Return random post-ReLU maps with a mean far from zero, like those of networks.

    Args:
        seed: Seed; the same seed gives the same maps.
        images: Number of images.
        shapes: Shape (channels, y, x) of each layer; the layers are called layer0, layer1, ...

    Returns:
        Maps of each layer, (image, channel, y, x) float16.
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
    channel_numbers: Mapping[str, Sequence[int]] | None = None,
    provenance: Provenance | None = None,
) -> Path:
    """Write arrays as a finished store of float16 maps, and its moments as another store.

    Args:
        store: Path of the store X.zarr to write, for a model X. Its moments become moments/X.zarr
            in the same folder (moments_of).
        layers: Maps of each layer, (image, channel, y, x), in the order of the forward pass. All
            layers have the same number of images.
        images_per_shard: Number of images in a file.
        channel_numbers: Numbers of the channels in each layer, for a store of matched units; None
            means that all channels are present.
        provenance: Provenance of the store; if it is given, moments are not written.

    Returns:
        The path of the store.

    Raises:
        StoreError: The disk is full.
        ValueError: Shapes do not fit each other, or values are not finite.
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
        images_per_shard=images_per_shard,
        dtype="float16",
        attrs={"model": store.stem, "samples": "samples.zarr"},
        layer_attrs={name: {"layer": name} for name in layers},
        key="test",
        provenance=provenance
        or made("matched maps" if channel_numbers else "activations", store.stem),
        channel_numbers=channel_numbers,
    )
    for block in image_blocks(images, images_per_shard):
        writer.write(block, {name: array[block] for name, array in layers.items()})
    writer.finish()
    if provenance is None:
        moments.measure(store, moments_of(store))
    return store


def moments_of(store: Path) -> Path:
    """Return the path at which write_maps writes the moments of a store."""
    return store.parent / "moments" / store.name


def dump_maps(
    model: str,
    zoo: str | Path,
    samples: Path,
    layers: str | list[str],
    *,
    dtype: str,
    images_per_shard: int,
    store: Path,
) -> None:
    """Run a model of a zoo on a sample set and write its maps, like the step activations.

    Args:
        model: Name of the model in the zoo.
        zoo: Path of the YAML file of entries.
        samples: Path of the sample set (.zarr).
        layers: "all", a preset of the entry, or patterns of layer names.
        dtype: "float16" or "float32".
        images_per_shard: Number of images in a file.
        store: Path of the store X.zarr to write.

    Raises:
        ValueError: The model, its weights or layers cannot be used, or maps are not finite.
        StoreError: The sample set is damaged, or the disk is full.
    """
    state = describe(model, zoo, samples, layers, dtype=dtype, images_per_shard=images_per_shard)
    dump(Stream(state), images_per_shard, store, moments_of(store))
