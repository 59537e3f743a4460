"""A store is copied whole, with its manifest, by links where the disk has them."""

import os

import numpy as np
import pytest

from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.storage.datasets import check_dataset, copy_store
from rosetta_steps.storage.manifests import manifest_path
from rosetta_steps.testing import moments_of, write_maps


@pytest.fixture
def store(tmp_path):
    return moments_of(write_maps(tmp_path / "a.zarr", {"layer": np.ones((4, 2, 3, 3), np.float16)}))


def inodes(folder):
    return {path.name: path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def refuse(*_, **__):
    raise OSError("no links here")


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_is_the_store_with_its_manifest(store, tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    copy = tmp_path / "elsewhere/a.zarr"
    for _ in range(2):  # the second time in place of the first
        copy_store(store, copy)
    check_dataset(copy)
    assert manifest_path(copy).read_bytes() == manifest_path(store).read_bytes()
    assert (inodes(copy) == inodes(store)) is links
    assert sorted(path.name for path in copy.parent.iterdir()) == ["a.zarr", "a.zarr.done.json"]


def test_a_damaged_store_and_a_store_onto_itself_are_not_copied(store, tmp_path):
    with pytest.raises(UserError, match="give another --output"):
        copy_store(store, store)
    check_dataset(store)
    next(store.rglob("mean_map/c/0/0/0")).write_bytes(b"")
    with pytest.raises(StoreError, match="is damaged"):
        copy_store(store, tmp_path / "elsewhere/a.zarr")
    assert not (tmp_path / "elsewhere").exists()
