"""Moments are taken while a dump is written, and are those of what was written, to the bit."""

import shutil

import pytest
import torch
import yaml

from rosetta_steps.maps import moments
from rosetta_steps.maps.activations import dump
from rosetta_steps.maps.running import Stream, describe
from rosetta_steps.maps.store import MapReader, MapWriter
from rosetta_steps.storage.manifests import manifest_path
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.generators.dcgan import DCGAN

IMAGES = 7


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A tiny generator on its images, of which two make a shard."""
    place = tmp_path_factory.mktemp("described")
    torch.manual_seed(0)
    weights, zoo, samples = (place / name for name in ("w.pt", "zoo.yaml", "s.zarr"))
    torch.save(DCGAN(5, [4, 3]).state_dict(), weights)
    entry = {"role": "generator", "loader": "dcgan", "source": "test", "licence": "MIT"}
    entry |= {"architecture": {"latent": 5, "channels": [4, 3]}, "weights": {"path": str(weights)}}
    zoo.write_text(yaml.safe_dump({"tiny": entry}))
    sampling.sample("tiny", str(zoo), IMAGES, 0, samples, device="cpu")
    return describe("tiny", str(zoo), samples, "all", dtype="float16", images_per_shard=2)


def dumped(described, place, splits=1):
    """The folder of a dump and its moments."""
    place.mkdir(exist_ok=True)
    dump(Stream(described), 2, place / "maps.zarr", place / "moments.zarr", splits=splits)
    return place


def content(store):
    """Every file of a store and its bytes."""
    return {str(f.relative_to(store)): f.read_bytes() for f in store.rglob("*") if f.is_file()}


@pytest.mark.parametrize("splits", [1, 3])
def test_they_are_those_of_the_store(described, tmp_path, splits):
    place = dumped(described, tmp_path, splits)
    moments.measure(place / "maps.zarr", place / "again.zarr", splits)
    assert content(place / "again.zarr") == content(place / "moments.zarr")


def test_layers_whose_sums_do_not_fit_together_are_read_again(described, tmp_path, monkeypatch):
    whole = dumped(described, tmp_path / "whole")
    monkeypatch.setattr(moments, "budgets", lambda device: (1, 1))
    assert len(moments.groups_of_layers(Stream(described), 1)) > 1
    assert content(dumped(described, tmp_path / "few") / "moments.zarr") == content(
        whole / "moments.zarr"
    )


def test_a_killed_dump_has_the_moments_of_one_that_was_not(described, tmp_path, monkeypatch):
    whole = dumped(described, tmp_path / "whole")
    write, written = MapWriter.write, []

    def killed(writer, block, maps):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(block)
        write(writer, block, maps)

    monkeypatch.setattr(MapWriter, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        dumped(described, tmp_path / "killed")
    assert not (tmp_path / "killed/moments.zarr").exists()
    written.clear()
    again = dumped(described, tmp_path / "killed")
    assert [block.start for block in written] == [4, 6]
    for name in ("maps.zarr", "moments.zarr"):
        assert content(again / name) == content(whole / name)


def test_other_splits_run_no_model(described, tmp_path, monkeypatch):
    place = dumped(described, tmp_path)
    maps = content(place / "maps.zarr")
    for name in ("maps.zarr", "moments.zarr"):
        manifest_path(place / name).unlink()  # as Snakemake does before a job
    monkeypatch.setattr(Stream, "load", lambda stream: pytest.fail("the model was loaded"))
    assert dumped(described, tmp_path, splits=2) == place
    assert content(place / "maps.zarr") == maps and MapReader(place / "maps.zarr").images == IMAGES
    moments.measure(place / "maps.zarr", place / "again.zarr", 2)
    assert content(place / "again.zarr") == content(place / "moments.zarr")


def test_a_block_that_was_damaged_meanwhile_is_made_again(described, tmp_path):
    place = dumped(described, tmp_path)
    maps, sums = content(place / "maps.zarr"), content(place / "moments.zarr")
    manifest_path(place / "maps.zarr").unlink()
    shard = next(file for file in (place / "maps.zarr").rglob("c/1/0/0/0"))
    shard.write_bytes(shard.read_bytes()[:-9])
    dumped(described, tmp_path)
    assert content(place / "maps.zarr") == maps and content(place / "moments.zarr") == sums


def test_a_store_that_was_deleted_beside_its_list_of_blocks_is_made_again(described, tmp_path):
    place = dumped(described, tmp_path)
    maps, sums = content(place / "maps.zarr"), content(place / "moments.zarr")
    manifest_path(place / "maps.zarr").unlink()
    shutil.rmtree(place / "maps.zarr")
    dumped(described, tmp_path)
    assert content(place / "maps.zarr") == maps and content(place / "moments.zarr") == sums


def test_more_splits_than_images_are_refused_before_any_pass(described, tmp_path):
    with pytest.raises(ValueError, match=f"of the {IMAGES} images|{IMAGES} images"):
        dumped(described, tmp_path, splits=IMAGES)
    assert not (tmp_path / "maps.zarr").exists()
