"""Codecs for activations: bytes kept, and bytes a second written and read, on maps of yours."""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from tqdm import tqdm
from zarr.codecs import BloscCodec, ZstdCodec

from rosetta_steps.maps.store import COMPRESSOR, PIPELINE, MapReader, shapes
from rosetta_steps.runtime.errors import run

OURS_BY_ZARR_PYTHON = "ours, by zarr-python"
CODECS = {
    "ours": COMPRESSOR,
    OURS_BY_ZARR_PYTHON: COMPRESSOR,
    "none": None,
    **{f"zstd {level}": ZstdCodec(level=level, checksum=True) for level in (-5, -1, 1, 3)},
    **{
        f"blosc {name} 1, {shuffle}": BloscCodec(cname=name, clevel=1, shuffle=shuffle, typesize=2)
        for name in ("lz4", "zstd")
        for shuffle in ("noshuffle", "shuffle", "bitshuffle")
    },
}


def compare(store: Path, images: int, repeats: int) -> pd.DataFrame:
    """Write and read the first images of a store with each codec.

    Args:
        store: Of activations.
        images: How many of its images.
        repeats: The fastest of so many counts.

    Returns:
        By codec: ratio (bytes before / bytes after), MB/s written, MB/s read (before compression).
    """
    reader = MapReader(store)
    images = min(images, reader.images)
    maps = {name: reader.read(name, slice(0, images)) for name in reader.layers}
    size = sum(value.nbytes for value in maps.values())
    rows = {name: {"ratio": 0.0, "written MB/s": 0.0, "read MB/s": 0.0} for name in CODECS}
    for _ in range(repeats):
        for name, codec in tqdm(CODECS.items(), desc="codecs"):
            pipeline = {} if name == OURS_BY_ZARR_PYTHON else PIPELINE
            with (
                tempfile.TemporaryDirectory(dir=store.parent) as folder,
                zarr.config.set(pipeline),
            ):
                arrays = {}
                for layer, value in maps.items():
                    channels, y, x = value.shape[1:]
                    chunk, shard = shapes(
                        channels, y, x, reader.images_per_shard, value.dtype.itemsize
                    )
                    arrays[layer] = zarr.create_array(
                        f"{folder}/{layer}", shape=value.shape, dtype=value.dtype, chunks=chunk,
                        shards=shard, compressors=codec, fill_value=np.nan,
                    )  # fmt: skip
                start = time.perf_counter()
                for layer, value in maps.items():
                    arrays[layer][:] = value
                written = time.perf_counter() - start
                start = time.perf_counter()
                for array in arrays.values():
                    array[:]
                read = time.perf_counter() - start
                kept = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
            row = rows[name]
            row["ratio"] = size / kept
            row["written MB/s"] = max(row["written MB/s"], size / 1e6 / written)
            row["read MB/s"] = max(row["read MB/s"], size / 1e6 / read)
    return pd.DataFrame(rows).T


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--activations", type=Path, required=True, help="X.zarr to take maps from")
    parser.add_argument("--images", type=int, default=64, help="default %(default)s")
    parser.add_argument(
        "--repeats", type=int, default=2, help="the fastest counts, default %(default)s"
    )
    a = parser.parse_args()
    print(compare(a.activations, a.images, a.repeats).round(2).to_string())


if __name__ == "__main__":
    run(main)
