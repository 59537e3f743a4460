"""Datasets written whole or not at all, and checked when they are opened.

A store is finished when its manifest `X.zarr.done.json` stands beside it (storage.manifests). It
names every file with its size and has a digest of them all, which is verified on opening. Maps,
which are large, have a store of their own (maps.store).
"""

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import xarray as xr
import zarr

from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.digests import digest_of_files
from rosetta_steps.storage.files import write_json, writing
from rosetta_steps.storage.manifests import (
    Provenance,
    manifest_path,
    partial_path,
    read_manifest,
    step_that_writes,
)
from rosetta_steps.storage.portable import portable

Opened = TypeVar("Opened")


def remove_store(store: Path) -> None:
    """Remove a store with its manifests; nothing where there is none."""
    manifest_path(store).unlink(missing_ok=True)
    partial_path(store).unlink(missing_ok=True)
    shutil.rmtree(store, ignore_errors=True)


def write_dataset(
    dataset, store: Path, provenance: Provenance, encoding: dict | None = None
) -> None:
    """Write an xarray Dataset or DataTree as a store, whole or not at all, with its manifest.

    Attributes and strings are written as `portable` has them.

    Raises:
        StoreError: The disk is full.
    """
    with whole_store(store, provenance) as folder, warnings.catch_warnings(), writing(store):
        # Strings of a fixed width are read without a word; only this write warns.
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        portable(dataset).to_zarr(folder, mode="w", consolidated=False, encoding=encoding)


def _remove(folder: Path) -> None:
    # Zarr writes chunks side by side: where one fails, others may still be on their way.
    for _ in range(40):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def write_template(dataset, folder: Path, encoding: dict) -> None:
    """Write an xarray Dataset but for its Dask arrays, whose values are written into it later."""
    with warnings.catch_warnings(), writing(folder):
        # As in write_dataset.
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        written = portable(dataset)
        written.to_zarr(folder, mode="w", consolidated=False, encoding=encoding, compute=False)


@contextmanager
def whole_store(store: Path, provenance: Provenance) -> Iterator[Path]:
    """A folder to write a store into; if nothing fails, it becomes the store, with its manifest.

    For what is written piece by piece. An error leaves nothing; what a killed job has left is
    removed by the next one.

    Args:
        store: Path of the store.
        provenance: Where it comes from.

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
        state = provenance.state(store) | {
            "files": {str(path.relative_to(temporary)): path.stat().st_size for path in files},
            "digest": digest_of_files(temporary, files),
        }
        with writing(store):
            os.replace(temporary, store)
        write_json(manifest_path(store), state)
    finally:
        _remove(temporary)


_checked: dict[tuple, str] = {}


def check_dataset(store: Path) -> Path:
    """The path of a finished store, its files as they were written and no others.

    Raises:
        StoreError: It is not finished, or a file is missing, of another size or altered; its
            manifest is then removed, so that the next run writes the store anew.
    """
    store = Path(store)
    state = read_manifest(store, {"files": dict, "digest": str})
    if found := _damage_of_dataset(store, state):
        manifest_path(store).unlink(missing_ok=True)
        raise StoreError(
            f"{store} is damaged: {found}. {step_that_writes(manifest_path(store))}: "
            "it is written anew."
        )
    return store


def _damage_of_dataset(store: Path, state: dict) -> str | None:
    seen = []
    for file, size in state["files"].items():
        try:
            status = (store / file).stat()
        except (FileNotFoundError, NotADirectoryError):
            return f"{file} is missing"
        if status.st_size != size:
            return f"{file} has {status.st_size} bytes instead of {size}"
        seen.append((file, status.st_ino, status.st_mtime_ns))
    there = (path for path in store.rglob("*") if path.is_file() and path.name[0] != ".")
    known = state["files"].keys()
    if foreign := [f for p in there if (f := p.relative_to(store).as_posix()) not in known]:
        return f"{foreign[0]} was not written by its step"
    # A process that opens a store again need not read all of it again.
    key = (str(store.absolute()), state["digest"], *seen)
    if key not in _checked:
        _checked[key] = digest_of_files(store, [store / file for file in state["files"]])
    return None if _checked[key] == state["digest"] else "the sha256 of its files is another"


def open_dataset(store: Path, chunks: dict | None = None) -> xr.Dataset:
    """A finished store, checked: none of its arrays are in memory.

    Args:
        store: X.zarr.
        chunks: {} for Dask arrays; None, the default, for arrays read when they are used.

    Raises:
        StoreError: As check_dataset.
    """
    return xr.open_zarr(check_dataset(store), chunks=chunks)


def open_each(open_one: Callable[[Path], Opened], paths: Iterable[Path]) -> list[Opened]:
    """Several stores, of which all that are damaged are named and struck at once.

    Args:
        open_one: Opens one.
        paths: Of the stores.

    Raises:
        StoreError: Of each store that cannot be opened, what open_one says.
    """
    opened, damage = [], []
    for path in paths:
        try:
            opened.append(open_one(path))
        except StoreError as error:
            damage.append(str(error))
    if damage:
        raise StoreError("\n".join(damage))
    return opened


def open_tree(store: Path) -> xr.DataTree:
    """A finished store with a group a layer, checked: none of its arrays are in memory.

    Raises:
        StoreError: As check_dataset.
    """
    return xr.open_datatree(check_dataset(store), engine="zarr")
