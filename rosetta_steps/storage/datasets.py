"""Stores of xarray datasets, written atomically and checked when they are opened.

A store `X.zarr` is finished when its manifest `X.zarr.done.json` exists (storage.manifests). The
manifest lists every file with its size and holds one digest of all files, which is verified on
opening. Maps are large and have their own kind of store (maps.store).
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

from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.storage.digests import digest_of_files
from rosetta_steps.storage.files import (
    explain_write_errors,
    files_under,
    is_hidden,
    whole_file,
    write_json,
)
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
    """Remove a store and its manifests, if they exist."""
    manifest_path(store).unlink(missing_ok=True)
    partial_path(store).unlink(missing_ok=True)
    shutil.rmtree(store, ignore_errors=True)


def write_dataset(
    dataset, store: Path, provenance: Provenance, encoding: dict | None = None
) -> None:
    """Write an xarray Dataset or DataTree as a store with a manifest, atomically.

    Attributes and strings are converted by `storage.portable.portable`.

    Raises:
        StoreError: The disk is full.
    """
    with (
        whole_store(store, provenance) as folder,
        warnings.catch_warnings(),
        explain_write_errors(store),
    ):
        # zarr-python warns when it writes fixed-width strings; it reads them without a warning.
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        portable(dataset).to_zarr(folder, mode="w", consolidated=False, encoding=encoding)


def _remove(folder: Path) -> None:
    # Zarr writes chunks in parallel: when one fails, others may still be being written.
    for _ in range(40):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def write_template(dataset, folder: Path, encoding: dict) -> None:
    """Write a Dataset's metadata and NumPy arrays; values of Dask arrays are written later."""
    with warnings.catch_warnings(), explain_write_errors(folder):
        # As in write_dataset, fixed-width strings would warn.
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        written = portable(dataset)
        written.to_zarr(folder, mode="w", consolidated=False, encoding=encoding, compute=False)


@contextmanager
def whole_store(store: Path, provenance: Provenance) -> Iterator[Path]:
    """Yield a temporary folder that becomes the store, with its manifest, if no error is raised.

    Use it for stores that are written piece by piece. After an error nothing is left; folders left
    by a killed job are removed by the next one.

    Args:
        store: Path of the store.
        provenance: Origin of the store, recorded in its manifest.

    Raises:
        StoreError: The disk is full.
    """
    store = Path(store)
    remove_store(store)
    with explain_write_errors(store):
        store.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{store.name}.building-"
    for left in [path for path in store.parent.iterdir() if path.name.startswith(prefix)]:
        shutil.rmtree(left, ignore_errors=True)
    temporary = store.with_name(f"{prefix}{os.getpid()}")
    try:
        yield temporary
        with warnings.catch_warnings(), explain_write_errors(store):
            # Zarr warns that consolidated metadata is not in the v3 specification, and as above.
            warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
            warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
            zarr.consolidate_metadata(temporary)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        state = provenance.state(store) | {
            "files": {str(path.relative_to(temporary)): path.stat().st_size for path in files},
            "digest": digest_of_files(temporary, files),
        }
        with explain_write_errors(store):
            os.replace(temporary, store)
        write_json(manifest_path(store), state)
    finally:
        _remove(temporary)


def copy_store(store: Path, output: Path) -> None:
    """Check a finished store and put a copy of the same name, with its manifest, elsewhere.

    Its files are links to those of the store where the disk has such links.

    Raises:
        StoreError: The store is not finished or is damaged, or the disk is full.
        ValueError: Both are the same.
    """
    store, output = check_dataset(store), Path(output)
    if output.exists() and output.samefile(store):
        raise UserError(f"{output} is itself what is to be copied there: give another --output.")
    remove_store(output)
    temporary = output.with_name(f".{output.name}.building-{os.getpid()}")
    try:
        with explain_write_errors(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copytree(store, temporary, copy_function=os.link)
            except OSError:
                _remove(temporary)
                shutil.copytree(store, temporary)
            os.replace(temporary, output)
            with whole_file(manifest_path(output)) as manifest:
                shutil.copyfile(manifest_path(store), manifest)
    finally:
        _remove(temporary)


_checked: dict[tuple, str] = {}


def check_dataset(store: Path) -> Path:
    """Check that a store is finished and that its files are exactly those written; return its path.

    Raises:
        StoreError: The store is not finished; or a file is missing, was altered or does not belong
            to it. In the latter case the manifest is removed, so that the next run writes the
            store again.
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
            status = os.stat(os.path.join(store, file))
        except (FileNotFoundError, NotADirectoryError):
            return f"{file} is missing"
        if status.st_size != size:
            return f"{file} has {status.st_size} bytes instead of {size}"
        seen.append((file, status.st_ino, status.st_mtime_ns))
    there = (file for file in files_under(store) if not is_hidden(file))
    if foreign := [file for file in there if file not in state["files"]]:
        return f"{foreign[0]} was not written by its step"
    # A store is hashed once in a process, unless its files change.
    key = (str(store.absolute()), state["digest"], *seen)
    if key not in _checked:
        _checked[key] = digest_of_files(store, [store / file for file in state["files"]])
    return None if _checked[key] == state["digest"] else "the sha256 of its files is another"


def open_dataset(store: Path, chunks: dict | None = None) -> xr.Dataset:
    """Open a finished store as a Dataset, after checking its files; arrays are read lazily.

    Args:
        store: X.zarr.
        chunks: {} for Dask arrays; None, the default, for xarray's lazy arrays.

    Raises:
        StoreError: check_dataset refuses the store.
    """
    return xr.open_zarr(check_dataset(store), chunks=chunks)


def open_each(open_one: Callable[[Path], Opened], paths: Iterable[Path]) -> list[Opened]:
    """Open several stores; if some are damaged, raise one error that names all of them.

    Args:
        open_one: Function that opens one store.
        paths: Paths of the stores.

    Raises:
        StoreError: At least one store cannot be opened; the message joins the errors of open_one.
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
    """Open a finished store with one group for each layer as a DataTree; arrays are read lazily.

    Raises:
        StoreError: check_dataset refuses the store.
    """
    return xr.open_datatree(check_dataset(store), engine="zarr")
