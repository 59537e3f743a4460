"""Stores of a model's maps, written in blocks of images, resumable and checked.

`X.zarr.partial.json` lists the complete blocks, so that a killed job resumes with the next one. It
stays beside the finished store, because Snakemake removes the manifest before it runs a job again:
then the blocks that are there are kept. The partial and the final manifest list every file with its
size and a fingerprint of its content. Chunks carry checksums, which are verified on reading; the
fingerprint is a digest of these checksums and is verified on opening.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from math import prod
from pathlib import Path
from threading import Lock

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.datasets import remove_store
from rosetta_steps.storage.digests import digest_of_files
from rosetta_steps.storage.files import (
    explain_write_errors,
    files_under,
    is_hidden,
    write_json,
)
from rosetta_steps.storage.manifests import (
    Provenance,
    manifest_path,
    partial_path,
    read_manifest,
    refuse_manifest,
    step_that_writes,
)
from rosetta_steps.storage.portable import attrs_of_maps, plain_attrs

# zstd at level 1 compresses post-ReLU maps by 2.1 to 2.5; with bitshuffle it was worse
# (python -m rosetta_steps.benchmarks.codecs).
COMPRESSOR = ZstdCodec(level=1, checksum=True)
CHUNK_BYTES = 2 * 2**20


# Shards are encoded and decoded in Rust, which writes twice as fast as zarr-python. The files are
# plain Zarr, which both can read.
PIPELINE = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
# Zarr's config is that of all threads: two that change it at once would leave it changed.
_changing = Lock()


class MapWriter:
    """Writer of a store of maps, one block of images after the other.

    Args:
        store: Path of the store, ending in .zarr.
        layers: Shape (channels, y, x) of each layer, by name.
        images: Number of images in the finished store.
        images_per_shard: Number of images in a block. A shard holds one block of all channels of a
            layer.
        dtype: Dtype of the stored activations.
        attrs: Attributes of the root group.
        layer_attrs: Attributes of the group of each layer.
        key: Digest of everything the content depends on. Blocks on disk are kept only if it is the
            same.
        provenance: Origin of the maps, recorded in the manifest.
        channel_numbers: Numbers of the stored channels of each layer, if only some are stored; they
            become the coordinate `channel`.
        threads: Layers that are written at the same time, because Zarr encodes a shard on one core.

    Raises:
        StoreError: The disk is full.
    """

    def __init__(
        self,
        store: Path,
        layers: Mapping[str, tuple[int, int, int]],
        images: int,
        *,
        images_per_shard: int,
        dtype: str,
        attrs: dict,
        layer_attrs: Mapping[str, dict],
        key: str,
        provenance: Provenance,
        channel_numbers: Mapping[str, Sequence[int]] | None = None,
        threads: int = 1,
    ):
        self.store, self.images, self.images_per_shard = Path(store), images, images_per_shard
        self.threads = threads
        self.state = provenance.state(store) | {
            "key": key,
            "images": images,
            "images_per_shard": images_per_shard,
            "layers": {},
            "blocks": {},
        }
        for name, shape in layers.items():
            self.state["layers"][name] = {"shape": [images, *shape], "dtype": dtype}
            if channel_numbers is not None:
                self.state["layers"][name]["channels"] = list(channel_numbers[name])
        chunks = _chunks_of_shards(self.state)
        known = _read_partial(store)
        others = known.pop("others", None) if known else None
        altered = others and digest_of_files(store, _other_files(store, known or {})) != others
        if known and (altered or not self.store.is_dir()):
            known = None
        if known and known | {"blocks": {}} == self.state:
            self.state["blocks"] = {
                block: files
                for block, files in known["blocks"].items()
                if not _damage(store, files, chunks)
            }
        else:
            remove_store(store)
        self._attrs, self._layer_attrs, self._numbers = attrs, layer_attrs, channel_numbers
        self._chunks = chunks

    @cached_property
    def arrays(self) -> dict[str, zarr.Array]:
        """The array of each layer; the store is created when they are first asked for."""
        if not partial_path(self.store).exists():
            with explain_write_errors(self.store):
                self._create()
            write_json(partial_path(self.store), self.state)
        with _changing, zarr.config.set(PIPELINE):
            return {
                name: zarr.open_array(self.store / name / "activation", mode="r+")
                for name in self.state["layers"]
            }

    def _create(self) -> None:
        root = zarr.create_group(self.store, attributes=plain_attrs(self._attrs))
        for name, layer in self.state["layers"].items():
            _, channels, y, x = layer["shape"]
            group = root.create_group(name, attributes=plain_attrs(self._layer_attrs[name]))
            dtype = np.dtype(layer["dtype"])
            chunk, shard = shapes(channels, y, x, self.images_per_shard, dtype.itemsize)
            group.create_array(
                "activation",
                shape=layer["shape"],
                chunks=chunk,
                shards=shard,
                dtype=dtype,
                compressors=COMPRESSOR,
                # A missing shard must be recognised as damage, not read as zeros.
                fill_value=np.nan,
                dimension_names=("image", "channel", "y", "x"),
                attributes=attrs_of_maps(layer["dtype"]),
            )
            if self._numbers is not None:
                values = np.array(self._numbers[name], np.int64)
                group.create_array("channel", data=values, dimension_names=("channel",))

    def missing(self) -> list[slice]:
        """Return the blocks of images that are not on disk yet, in order."""
        return [
            block
            for index, block in enumerate(image_blocks(self.images, self.images_per_shard))
            if str(index) not in self.state["blocks"]
        ]

    def read(self, block: slice) -> dict[str, np.ndarray]:
        """Return the maps of one block that is on disk: of each layer (image, channel, y, x)."""
        return {name: np.asarray(array[block]) for name, array in self.arrays.items()}

    def write(self, block: slice, maps: Mapping[str, np.ndarray]) -> None:
        """Write the maps of one block: for each layer an array (image, channel, y, x)."""
        assert block.start % self.images_per_shard == 0, block
        index, arrays = block.start // self.images_per_shard, self.arrays

        def write(name: str) -> tuple[str, list]:
            file = f"{name}/activation/c/{index}/0/0/0"
            # A short last block would be merged with the remains of an interrupted write.
            (self.store / file).unlink(missing_ok=True)
            with explain_write_errors(self.store / file):
                arrays[name][block] = maps[name]
            return file, _content_of(self.store / file, self._chunks[name])

        with ThreadPoolExecutor(self.threads) as pool:
            self.state["blocks"][str(index)] = dict(pool.map(write, self.state["layers"]))
        write_json(partial_path(self.store), self.state)

    def finish(self) -> None:
        """Consolidate the metadata, then write the manifest."""
        assert not self.missing()
        # Blocks are sorted, so that the manifest does not depend on the order of writing.
        blocks = dict(sorted(self.state["blocks"].items(), key=lambda item: int(item[0])))
        state = _finish_maps(self.store, self.state | {"blocks": blocks})
        write_json(partial_path(self.store), state)


def _finish_maps(store: Path, state: dict) -> dict:
    """Consolidate a complete store's metadata, then write its manifest with a digest of it."""
    with warnings.catch_warnings():
        # Zarr warns that consolidated metadata is not in the v3 specification; xarray reads it.
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
        with explain_write_errors(store / "zarr.json"):
            zarr.consolidate_metadata(store)
    others = _other_files(store, state)
    state = state | {"others": digest_of_files(store, others)}
    write_json(manifest_path(store), state)
    return state


def _other_files(store: Path, state: dict) -> list[Path]:
    """Return the files of a store that are no shards: metadata and channel numbers."""
    shards = {file for files in state["blocks"].values() for file in files}
    return [
        store / file for file in files_under(store) if file not in shards and not is_hidden(file)
    ]


def shapes(channels: int, y: int, x: int, images: int, itemsize: int):
    """Return the shapes of chunk and shard of a layer.

    A shard holds all channels of a block of images, a chunk some channels of the same block.
    """
    of_channel = images * y * x * itemsize
    pieces = max(1, round(channels * of_channel / CHUNK_BYTES))
    per_chunk = -(-channels // min(pieces, channels))
    pieces = -(-channels // per_chunk)
    return (images, per_chunk, y, x), (images, per_chunk * pieces, y, x)


class MapReader:
    """Reader of a finished store of maps, block by block, which checks the files on opening.

    Raises:
        StoreError: The store does not exist, a file is missing or altered, or the metadata are
            altered. Damaged blocks are then removed from the manifest, so that the next run writes
            only those again.
    """

    device = "cpu"  # of the maps that `read` returns

    def __init__(self, store: Path):
        self.store = Path(store)
        self.state = read_manifest(self.store, MAPS)
        if not _describes_maps(self.state):
            refuse_manifest(self.store, "it does not describe layers and blocks of images")
        damage, chunks = {}, _chunks_of_shards(self.state)
        for block, files in self.state["blocks"].items():
            if found := _damage(self.store, files, chunks):
                damage[block] = found
        self.metadata_damage = self._metadata_damage()
        if damage or self.metadata_damage:
            self._strike(damage)
        self.images = self.state["images"]
        self.sizes = {
            name: tuple(layer["shape"][2:]) for name, layer in self.state["layers"].items()
        }
        self.channels = {name: layer["shape"][1] for name, layer in self.state["layers"].items()}
        self.attrs = dict(self.root.attrs)

    @property
    def layers(self) -> list[str]:
        """Names of the layers in the order of the forward pass."""
        return list(self.sizes)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the stored activations."""
        return np.dtype(next(iter(self.state["layers"].values()))["dtype"])

    @property
    def images_per_shard(self) -> int:
        """Number of images in a block, as it was written."""
        return self.state["images_per_shard"]

    def images_per_read(self, max_bytes: float) -> int:
        """Return how many images to read together: those of a file, whatever `max_bytes` is."""
        return self.images_per_shard

    def layer_attrs(self, layer: str) -> dict:
        """Return the attributes of a layer: model, layer, nonlinearity."""
        return self.root[layer].attrs.asdict()

    def select_layers(self, layers: Iterable[str]) -> None:
        """Announce which layers will be read; a store needs no preparation."""

    def prefetch(self, block: slice) -> None:
        """Announce which images will be read next; a store needs no preparation."""

    def channel_numbers(self, layer: str) -> np.ndarray:
        """Return the channel numbers present in the store; only some if it has matched units."""
        stored = self.state["layers"][layer]
        return np.array(stored.get("channels", range(stored["shape"][1])))

    def channels_per_read(self, layer: str) -> int:
        """Return the number of channels in a chunk; reading fewer of them takes as long."""
        return self.arrays[layer].chunks[1]

    def read(self, layer: str, block: slice, channels: slice = slice(None)) -> np.ndarray:
        """Return activations of a block of images, (image, channel, y, x), in the stored dtype.

        Raises:
            StoreError: A shard is missing or cannot be decoded. Its block is then removed from the
                manifest.
        """
        if lost := self._lost(layer, block):  # Zarr would read it as fill values
            self._strike(lost)
        try:
            return np.asarray(self.arrays[layer][block, channels])
        except (RuntimeError, ValueError, OSError) as error:
            if damage := self._undecodable(layer, block):
                self._strike(damage)
            raise StoreError(f"{self.store}: layer {layer} cannot be read: {error}") from error

    def _metadata_damage(self) -> str | None:
        if not (self.store / "zarr.json").is_file():
            return "zarr.json is missing"
        others = _other_files(self.store, self.state)
        if digest_of_files(self.store, others) != self.state["others"]:
            return "its metadata or the numbers of its channels are altered"
        try:
            # By the consolidated metadata, one file for all layers; the digest has just held it.
            with _changing, zarr.config.set(PIPELINE):
                self.root = zarr.open_group(self.store, mode="r")
                self.arrays = {name: self._array(name) for name in self.state["layers"]}
        except (ValueError, KeyError, FileNotFoundError) as error:
            return f"zarr.json of a layer cannot be read ({error})"
        return None

    def _array(self, layer: str) -> zarr.Array:
        found = self.root[f"{layer}/activation"]
        assert isinstance(found, zarr.Array), found
        return found

    def _lost(self, layer: str, block: slice) -> dict[str, str]:
        shard = self.images_per_shard
        files = {
            str(index): f"{layer}/activation/c/{index}/0/0/0"
            for index in range(block.start // shard, -(-block.stop // shard))
        }
        lost = {index for index, file in files.items() if not (self.store / file).is_file()}
        return {index: f"{files[index]} is missing" for index in lost}

    def _undecodable(self, layer: str, block: slice) -> dict[str, str]:
        shard, found = self.images_per_shard, {}
        for index in range(block.start // shard, -(-block.stop // shard)):
            try:
                self.arrays[layer][index * shard : (index + 1) * shard]
            except (RuntimeError, ValueError, OSError) as error:
                file = f"{layer}/activation/c/{index}/0/0/0"
                found[str(index)] = f"{file} cannot be decoded ({error})"
        return found

    def _strike(self, damage: dict[str, str]) -> None:
        blocks = {k: v for k, v in self.state["blocks"].items() if k not in damage}
        whole = not self.metadata_damage
        if whole:
            state = {key: value for key, value in self.state.items() if key != "others"}
            write_json(partial_path(self.store), state | {"blocks": blocks})
        else:
            partial_path(self.store).unlink(missing_ok=True)
        manifest_path(self.store).unlink(missing_ok=True)
        first = self.metadata_damage or next(iter(damage.values()))
        raise StoreError(
            f"{self.store} is damaged: {first}; {len(damage)} of {len(self.state['blocks'])} "
            f"blocks of {self.state['images']} images. "
            f"{step_that_writes(manifest_path(self.store))}: "
            + ("only the damaged blocks are rewritten." if whole else "it is written anew.")
        ) from None


def _damage(store: Path, files: Mapping[str, list], chunks: Mapping[str, int]) -> str | None:
    """Return what is wrong with the first damaged file; None if all files are as written."""
    for file, (size, fingerprint) in files.items():
        path = os.path.join(store, file)
        try:
            found = os.stat(path).st_size
        except (FileNotFoundError, NotADirectoryError):
            return f"{file} is missing"
        if found != size:
            return f"{file} has {found} bytes instead of {size}"
        layer = file.partition("/")[0]
        if fingerprint_of(path, chunks[layer]) != fingerprint:
            return f"{file} has another content than was written there"
    return None


def _content_of(file: Path, chunks: int) -> list:
    return [file.stat().st_size, fingerprint_of(file, chunks)]


_fingerprints: dict[tuple, str] = {}


def fingerprint_of(shard: str | Path, chunks: int) -> str:
    """Return a fingerprint of a shard's content, for which only a few kilobytes are read.

    A shard ends with its index, the offset and length of each chunk. Each chunk ends with zstd's
    checksum of its decoded values, which is verified whenever the chunk is read. The fingerprint is
    the sha256 of lengths and checksums in the order of the index, because chunks are encoded in
    parallel and their order in the file varies.

    Args:
        shard: Path of a shard whose chunks are compressed by COMPRESSOR.
        chunks: Number of chunks in the shard.

    Returns:
        16 hexadecimal digits.
    """
    status = os.stat(shard)
    seen = (os.path.abspath(shard), status.st_ino, status.st_size, status.st_mtime_ns, chunks)
    if seen not in _fingerprints:
        total = hashlib.sha256()
        with open(shard, "rb") as file:
            index_bytes = 16 * chunks + 4  # two uint64 a chunk, and a checksum of the index
            file.seek(max(0, status.st_size - index_bytes))
            index = file.read(index_bytes)
            places = np.frombuffer(index[: len(index) // 16 * 16], "<u8").reshape(-1, 2)
            for offset, length in places.tolist():
                total.update(length.to_bytes(8, "little"))
                if offset + length <= status.st_size and length >= 4:
                    file.seek(offset + length - 4)
                    total.update(file.read(4))
        _fingerprints[seen] = total.hexdigest()[:16]
    return _fingerprints[seen]


def _chunks_of_shards(state: dict) -> dict[str, int]:
    """Return the number of chunks in a shard of each layer, by the manifest of a store."""
    found = {}
    for name, layer in state["layers"].items():
        itemsize = np.dtype(layer["dtype"]).itemsize
        channels, y, x = layer["shape"][1:]
        chunk, shard = shapes(channels, y, x, state["images_per_shard"], itemsize)
        found[name] = prod(whole // part for whole, part in zip(shard, chunk, strict=True))
    return found


# Additional keys of the manifest of a store of maps, and the types of their values.
MAPS = {
    "key": str,
    "images": int,
    "images_per_shard": int,
    "layers": dict,
    "blocks": dict,
    "others": str,
}


def _describes_maps(state: dict) -> bool:
    try:
        for layer in state["layers"].values():
            images, *rest = layer["shape"]
            if images != state["images"] or len(rest) != 3 or np.dtype(layer["dtype"]).kind != "f":
                return False
        whole = len(image_blocks(state["images"], state["images_per_shard"]))
        numbers = {str(number) for number in range(whole)}
        files = [file for block in state["blocks"].values() for file in block.items()]
        return set(state["blocks"]) == numbers and all(
            file.partition("/")[0] in state["layers"] and len(content) == 2
            for file, content in files
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _read_partial(store: Path) -> dict | None:
    """Read the partial manifest of an unfinished store; None if it is missing or damaged."""
    try:
        state = json.loads(partial_path(store).read_bytes())
        return state if isinstance(state, dict) and isinstance(state["blocks"], dict) else None
    except (OSError, ValueError, KeyError, RecursionError):
        return None


# Compressed size over uncompressed size of float16 maps with zstd at level 1: after a ReLU, and
# after a leaky ReLU or GELU, which gives few zeros (docs/benchmarks/generators.md).
AFTER_RELU, OTHERWISE = 0.45, 0.85


def bytes_of(layers: Sequence, images: int, dtype: str | np.dtype) -> tuple[int, float]:
    """Return the bytes of a store of maps before compression, and an estimate after compression.

    Args:
        layers: Shape (channels, y, x) and nonlinearity of each stored layer.
        images: Number of images.
        dtype: Dtype of the stored maps.
    """
    whole, left = 0, 0.0
    for shape, nonlinearity in layers:
        size = images * np.dtype(dtype).itemsize * int(np.prod(shape))
        whole += size
        left += size * (AFTER_RELU if nonlinearity.lower().startswith("relu") else OTHERWISE)
    return whole, left
