"""Stores of maps: one Zarr DataTree a model, written by image blocks, resumed, and checked.

A store is finished when its manifest `X.zarr.done.json` stands beside it. Until then
`X.zarr.partial.json` lists the blocks that are whole, so that a killed job goes on with the next
one. Both name every file with its size. Chunks of maps carry checksums, which are verified on
reading; of other stores, the manifest has a digest, which is verified on opening.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from rosetta_steps.errors import StoreError
from rosetta_steps.portable import attrs_of_maps, plain_attrs, portable

# zstd level 1 takes 2.1 to 2.5 times off post-ReLU maps; bitshuffle before it was worse.
# (python -m rosetta_steps.benchmarks.codecs)
COMPRESSOR = ZstdCodec(level=1, checksum=True)
CHUNK_BYTES = 2 * 2**20
# Shards are coded in Rust, which writes twice as fast as zarr-python here; the bytes are plain
# Zarr, read by either.
PIPELINE = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}


def manifest_path(store: Path) -> Path:
    """Where the manifest of a finished store lies."""
    return store.with_name(store.name + ".done.json")


def step_that_writes(target: Path) -> str:
    """The advice to make a file again. By its name: what later files were made of is not missed."""
    return f"Run the step that writes it (snakemake --cores all {os.path.relpath(target)})"


def _partial_path(store: Path) -> Path:
    return store.with_name(store.name + ".partial.json")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name what cannot be written, and the remedy.

    Raises:
        StoreError: In place of the OSError of a full disk, which is a RuntimeError from zarrs.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "(os error" not in str(error):
            raise
        raise StoreError(
            f"{path} cannot be written: {error}. Make room on its disk (df -h {path.parent}), then "
            "run the same command again: finished work is kept."
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Somewhere to write a file, which is moved to its path if nothing fails, else removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """Write a JSON file whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


class MapWriter:
    """Write activations of all layers of a model, one block of images after the other.

    Args:
        store: Folder of the store, ending in .zarr.
        layers: Name of each layer to (channels, y, x).
        images: Number of images in the finished store.
        images_per_shard: Images in a block. A shard holds a block of all channels of a layer.
        dtype: Of the stored activations.
        attrs: Attributes of the root; `layer_attrs` of the groups.
        key: What the content follows from. Blocks on disk are kept only under the same key.
        numbers: Where some of a layer's channels are stored: which, as a coordinate `channel`.

    Raises:
        StoreError: The disk is full.
    """

    def __init__(
        self,
        store: Path,
        layers: Mapping[str, tuple[int, int, int]],
        images: int,
        images_per_shard: int,
        dtype: str,
        attrs: dict,
        layer_attrs: Mapping[str, dict],
        key: str,
        numbers: Mapping[str, Sequence[int]] | None = None,
    ):
        self.store, self.images, self.images_per_shard = store, images, images_per_shard
        self.state = {"key": key, "images": images, "layers": {}, "blocks": {}}
        for name, shape in layers.items():
            self.state["layers"][name] = {"shape": [images, *shape], "dtype": dtype}
            if numbers is not None:
                self.state["layers"][name]["channels"] = list(numbers[name])
        known = _read_json(_partial_path(store))
        if known and known["key"] == key and known["layers"] == self.state["layers"]:
            self.state["blocks"] = {
                block: files
                for block, files in known["blocks"].items()
                if not _damage(store, files)
            }
        else:
            remove_store(store)
            with writing(store):
                root = zarr.create_group(store, attributes=plain_attrs(attrs))
                for name, (channels, y, x) in layers.items():
                    group = root.create_group(name, attributes=plain_attrs(layer_attrs[name]))
                    chunk, shard = shapes(
                        channels, y, x, images_per_shard, np.dtype(dtype).itemsize
                    )
                    group.create_array(
                        "activation",
                        shape=(images, channels, y, x),
                        chunks=chunk,
                        shards=shard,
                        dtype=dtype,
                        compressors=COMPRESSOR,
                        # An absent shard must mean damage, never "all zero".
                        fill_value=np.nan,
                        dimension_names=("image", "channel", "y", "x"),
                        attributes=attrs_of_maps(dtype),
                    )
                    if numbers is not None:
                        values = np.array(numbers[name], np.int64)
                        group.create_array("channel", data=values, dimension_names=("channel",))
            write_json(_partial_path(store), self.state)
        self.arrays = _arrays(store, layers, "r+")

    def missing(self) -> list[slice]:
        """Images of the blocks that are not on disk yet, in order."""
        return [
            block
            for index, block in enumerate(image_blocks(self.images, self.images_per_shard))
            if str(index) not in self.state["blocks"]
        ]

    def write(self, block: slice, maps: Mapping[str, np.ndarray]) -> None:
        """Write one block: of each layer (images of the block, channel, y, x)."""
        assert block.start % self.images_per_shard == 0, block
        index = block.start // self.images_per_shard
        files = {}
        for name in self.state["layers"]:
            file = f"{name}/activation/c/{index}/0/0/0"
            # A short last block would be merged with what a full disk or a kill left of it.
            (self.store / file).unlink(missing_ok=True)
            with writing(self.store / file):
                self.arrays[name][block] = maps[name]
            files[file] = (self.store / file).stat().st_size
        self.state["blocks"][str(index)] = files
        write_json(_partial_path(self.store), self.state)

    def finish(self) -> None:
        """Consolidate the metadata and write the manifest, last."""
        assert not self.missing()
        finish_store(self.store, self.state)
        _partial_path(self.store).unlink(missing_ok=True)


def finish_store(store: Path, state: dict) -> None:
    """Consolidate a complete store's metadata, then write its manifest with a digest of it."""
    with warnings.catch_warnings():
        # Zarr warns that consolidated metadata is not in the v3 specification; xarray reads it.
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
        with writing(store / "zarr.json"):
            zarr.consolidate_metadata(store)
    state = dict(state, metadata=hashlib.sha256((store / "zarr.json").read_bytes()).hexdigest())
    write_json(manifest_path(store), state)


def shapes(channels: int, y: int, x: int, images: int, itemsize: int):
    """Chunk and shard of a layer: a shard is a block of images, a chunk some channels of it."""
    of_channel = images * y * x * itemsize
    pieces = max(1, round(channels * of_channel / CHUNK_BYTES))
    per_chunk = -(-channels // min(pieces, channels))
    pieces = -(-channels // per_chunk)
    return (images, per_chunk, y, x), (images, per_chunk * pieces, y, x)


def image_blocks(images: int, images_per_block: int) -> list[slice]:
    """Fixed blocks of images; the last may be short."""
    starts = range(0, images, images_per_block)
    return [slice(start, min(start + images_per_block, images)) for start in starts]


def remove_store(store: Path) -> None:
    """Remove a store with its manifests; nothing where there is none."""
    manifest_path(store).unlink(missing_ok=True)
    _partial_path(store).unlink(missing_ok=True)
    shutil.rmtree(store, ignore_errors=True)


class MapReader:
    """Read a finished store of activations block by block, and name what is damaged.

    Raises:
        StoreError: There is no such store, a file is missing or of another size, or the metadata
            are altered. The damaged blocks are then struck from the manifest, so that the next
            run rewrites only them.
    """

    device = "cpu"  # where maps lie when they have been read

    def __init__(self, store: Path):
        self.store = Path(store)
        self.state = _read_json(manifest_path(self.store))
        if self.state is None:
            raise StoreError(
                f"{self.store} is not finished: {manifest_path(self.store).name} is missing. "
                f"{step_that_writes(manifest_path(self.store))}: it goes on where it stopped."
            )
        damage = {}
        for block, files in self.state["blocks"].items():
            if found := _damage(self.store, files):
                damage[block] = found
        self.metadata_damage = self._metadata_damage()
        if damage or self.metadata_damage:
            self._strike(damage)
        self.root = zarr.open_group(self.store, mode="r")
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
        """Of the stored activations."""
        return np.dtype(next(iter(self.state["layers"].values()))["dtype"])

    @property
    def images_per_shard(self) -> int:
        """Images in a block as it was written."""
        return self.arrays[self.layers[0]].shards[0]

    def images_together(self, size: float) -> int:
        """Images that had better be read together: those of a file, whatever their size."""
        return self.images_per_shard

    def layer_attrs(self, layer: str) -> dict:
        """What the store says of a layer."""
        return self.root[layer].attrs.asdict()

    def tap(self, layers: Iterable[str]) -> None:
        """Say which layers will be read: of a store, nothing follows from it."""

    def prepare(self, block: slice) -> None:
        """Say which images will be read next: of a store, nothing follows from it."""

    def numbers(self, layer: str) -> np.ndarray:
        """Of the channels that are stored, in the layer: those of a matched store are not all."""
        stored = self.state["layers"][layer]
        return np.array(stored.get("channels", range(stored["shape"][1])))

    def grain(self, layer: str) -> int:
        """Channels of a layer that are coded together: to read fewer takes as long."""
        return self.arrays[layer].chunks[1]

    def read(self, layer: str, block: slice, channels: slice = slice(None)) -> np.ndarray:
        """Activations of some images: (image, channel, y, x) in the stored dtype."""
        try:
            return self.arrays[layer][block, channels]
        except (RuntimeError, ValueError, OSError) as error:
            if damage := self._undecodable(layer, block):
                self._strike(damage)
            raise StoreError(f"{self.store}: layer {layer} cannot be read: {error}") from error

    def _metadata_damage(self) -> str | None:
        metadata = self.store / "zarr.json"
        if not metadata.is_file():
            return "zarr.json is missing"
        if sha256_of(metadata) != self.state["metadata"]:
            return "zarr.json is altered"
        try:
            self.arrays = _arrays(self.store, self.state["layers"], "r")
        except (ValueError, KeyError, FileNotFoundError) as error:
            return f"zarr.json of a layer cannot be read ({error})"
        return None

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
            write_json(_partial_path(self.store), dict(self.state, blocks=blocks))
        manifest_path(self.store).unlink(missing_ok=True)
        first = self.metadata_damage or next(iter(damage.values()))
        raise StoreError(
            f"{self.store} is damaged: {first}; {len(damage)} of {len(self.state['blocks'])} "
            f"blocks of {self.state['images']} images. "
            f"{step_that_writes(manifest_path(self.store))}: "
            + ("only the damaged blocks are rewritten." if whole else "it is written anew.")
        ) from None


def _arrays(store: Path, layers: Iterable[str], mode: str) -> dict[str, zarr.Array]:
    with zarr.config.set(PIPELINE):
        return {name: zarr.open_array(store / name / "activation", mode=mode) for name in layers}


def _damage(store: Path, files: Mapping[str, int]) -> str | None:
    for file, size in files.items():
        try:
            found = (store / file).stat().st_size
        except FileNotFoundError:
            return f"{file} is missing"
        if found != size:
            return f"{file} has {found} bytes instead of {size}"
    return None


def _read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise StoreError(f"{path} is not JSON ({error}). Delete it and run again.") from None


def pieces_folder(output: Path, identity) -> Path:
    """A folder beside an output for its finished pieces, which the same job may find again.

    Args:
        output: That the pieces make together.
        identity: JSON-like: what they follow from. Pieces of anything else are removed.

    Raises:
        StoreError: The disk is full.
    """
    folder = output.with_name(f".{output.name}.pieces")
    known, text = folder / "of.json", json.dumps(identity)
    if not known.is_file() or known.read_text() != text:
        shutil.rmtree(folder, ignore_errors=True)
        with writing(known):
            folder.mkdir(parents=True)
            known.write_text(text)
    return folder


def write_dataset(dataset, store: Path, encoding: dict | None = None) -> None:
    """Write an xarray Dataset or DataTree as a store, whole or not at all, with its manifest.

    Attributes and strings are written as `portable` has them.

    Raises:
        StoreError: The disk is full.
    """
    with whole_store(store) as folder, warnings.catch_warnings(), writing(store):
        # Strings of a fixed width are read without a word; only this write warns.
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        portable(dataset).to_zarr(folder, mode="w", consolidated=False, encoding=encoding)


def write_template(dataset, folder: Path, encoding: dict) -> None:
    """Write an xarray Dataset but for its Dask arrays, whose values are written into it later."""
    with warnings.catch_warnings(), writing(folder):
        # As in write_dataset.
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        written = portable(dataset)
        written.to_zarr(folder, mode="w", consolidated=False, encoding=encoding, compute=False)


@contextmanager
def whole_store(store: Path) -> Iterator[Path]:
    """A folder to write a store into; if nothing fails, it becomes the store, with its manifest.

    For what is written piece by piece. An error leaves nothing; what a killed job has left is
    removed by the next one.

    Raises:
        StoreError: The disk is full.
    """
    store = Path(store)
    remove_store(store)
    with writing(store):
        store.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{store.name}.building-"
    for left in [path for path in store.parent.iterdir() if path.name.startswith(prefix)]:
        shutil.rmtree(left, ignore_errors=True)
    temporary = store.with_name(f"{prefix}{os.getpid()}")
    try:
        yield temporary
        with warnings.catch_warnings(), writing(store):
            # As in finish_store, and as in write_dataset.
            warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
            warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
            zarr.consolidate_metadata(temporary)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        state = {
            "files": {str(path.relative_to(temporary)): path.stat().st_size for path in files},
            "digest": digest_of_files(temporary, files),
        }
        with writing(store):
            os.replace(temporary, store)
        write_json(manifest_path(store), state)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def digest_of_files(store: Path, files: list[Path]) -> str:
    """The sha256 over names and contents of files."""
    total = hashlib.sha256()
    for path in files:
        total.update(str(path.relative_to(store)).encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def check_dataset(store: Path) -> Path:
    """The path of a finished store, its files as they were written.

    Raises:
        StoreError: It is not finished, or a file is missing, of another size or altered; its
            manifest is then removed, so that the next run writes the store anew.
    """
    store = Path(store)
    state = _read_json(manifest_path(store))
    if state is None:
        raise StoreError(
            f"{store} is not finished: {manifest_path(store).name} is missing. "
            f"{step_that_writes(manifest_path(store))}."
        )
    found = _damage(store, state["files"])
    if not found and digest_of_files(store, [store / f for f in state["files"]]) != state["digest"]:
        found = "the sha256 of its files is another"
    if found:
        manifest_path(store).unlink(missing_ok=True)
        raise StoreError(
            f"{store} is damaged: {found}. {step_that_writes(manifest_path(store))}: "
            "it is written anew."
        )
    return store


def sha256_of(path: Path) -> str:
    """The sha256 of a small file, in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_table(table, path: Path) -> None:
    """Write a pandas table as CSV, whole or not at all."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False)
