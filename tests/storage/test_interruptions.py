"""A full disk, a killed worker or job, a damaged file: the next run ends with the same result."""

import contextlib
import errno
import hashlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from conftest import ROOT
from full_disk import full_disk, message_of

from rosetta_steps.correlation import cluster, pieces, step, totals
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.maps import moments
from rosetta_steps.maps.store import MapReader, MapWriter
from rosetta_steps.runtime import errors
from rosetta_steps.storage.datasets import check_dataset
from rosetta_steps.storage.manifests import manifest_path
from rosetta_steps.testing import dump_maps, moments_of, random_maps, write_maps
from rosetta_steps.zoo.generators import sampling
from rosetta_steps.zoo.generators.dcgan import DCGAN

IMAGES = slice(0, 10)  # of all stores here: blocks of four end in a short one


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A zoo with one tiny DCGAN, and ten samples of it."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    torch.save({"g": DCGAN(5, [4, 3]).state_dict()}, folder / "weights.pt")
    digest = hashlib.sha256((folder / "weights.pt").read_bytes()).hexdigest()
    entry = {"role": "generator", "loader": "dcgan", "source": "test", "licence": "MIT"}
    entry["architecture"] = {"latent": 5, "channels": [4, 3]}
    entry["weights"] = {"path": str(folder / "weights.pt"), "sha256": digest, "key": "g"}
    entry["layers"] = {"block": ["*"]}
    (folder / "zoo.yaml").write_text(yaml.safe_dump({"tiny": entry}))
    sampling.sample("tiny", str(folder / "zoo.yaml"), 10, 0, folder / "samples.zarr", device="cpu")
    return folder


def dump(tiny, store, images_per_shard=4, dtype="float16"):
    zoo, samples = str(tiny / "zoo.yaml"), tiny / "samples.zarr"
    dump_maps(
        "tiny", zoo, samples, "block", dtype=dtype, images_per_shard=images_per_shard, store=store
    )
    return {layer: MapReader(store).read(layer, IMAGES) for layer in MapReader(store).layers}


def blocks_written(monkeypatch, disk_full_at=None) -> list[int]:
    """First image of each block that is written from now on."""
    written, original = [], MapWriter.write

    def write(writer, block, maps):
        with full_disk() if block.start == disk_full_at else contextlib.nullcontext():
            original(writer, block, maps)
        written.append(block.start)

    monkeypatch.setattr(MapWriter, "write", write)
    return written


@pytest.mark.parametrize("start", [4, 8])
def test_a_dump_goes_on_with_the_block_that_filled_the_disk(tiny, tmp_path, monkeypatch, start):
    whole, store = dump(tiny, tmp_path / "whole.zarr"), tmp_path / "maps.zarr"
    with monkeypatch.context() as patch:
        blocks_written(patch, disk_full_at=start)
        message = message_of(lambda: dump(tiny, store))
    assert f"/activation/c/{start // 4}/0/0/0 cannot be written: File too large" in message
    assert not manifest_path(store).exists()
    written = blocks_written(monkeypatch)
    np.testing.assert_equal(dump(tiny, store), whole)
    assert written == list(range(start, 10, 4))


def test_moments_on_a_full_disk_leave_nothing_and_are_mended_by_a_rerun(tmp_path, monkeypatch):
    store = write_maps(tmp_path / "a.zarr", random_maps(1, 10, (2, 12, 30)))
    again = tmp_path / "again" / "a.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(moments, "write_dataset", full_disk(5000)(moments.write_dataset))
        message = message_of(lambda: moments.measure(store, again))
    assert f"{again} cannot be written" in message
    assert not list(again.parent.iterdir())
    moments.measure(store, again)
    xr.testing.assert_identical(opened(again), opened(moments_of(store)))


def opened(store):
    return xr.open_datatree(check_dataset(store), engine="zarr").load()


def correlate(folder, output="out.zarr", strip=5, block=5, workers=1, taken=None):
    a, b, output = folder / "a.zarr", folder / "b.zarr", folder / output
    settings = Correlation(images_per_strip=strip, images_per_block=block)
    given = a, b, moments_of(a), taken or moments_of(b), output
    kind = {"settings": settings, "threads": 2, "workers": workers, "measure_b": taken is not None}
    step.correlate(*given, **kind)
    return xr.open_zarr(output)["correlation"].values


def strips_computed(monkeypatch) -> list[int]:
    """First image of each strip whose sums are computed from now on, by workers in threads."""
    computed, original = [], pieces.sum_products

    def sum_products(*args, **kind):
        computed.append(args[4].start)
        return original(*args, **kind)

    monkeypatch.setattr(pieces, "sum_products", sum_products)
    return computed


def once(save, then):
    """Save the sums of the first strip; at those of the second, do something else."""
    saved = []

    def savez(target, **sums):
        saved.append(target)
        (save if len(saved) == 1 else then)(target, **sums)

    return savez


def fill_the_disk(target, **_):
    target.write(b"half a file")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt(folder, monkeypatch) -> str:
    """Fill the disk at the second strip of two; the message of the run."""
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", once(np.savez, fill_the_disk))
        message = message_of(lambda: correlate(folder))
    files = sorted(file.split("-", 1)[-1] for file in os.listdir(folder / ".out.zarr.pieces"))
    assert files == ["0-0.npz", "of.json"]
    return message


def assert_the_rerun_computes_only_the_second_strip(folder, monkeypatch):
    assert not manifest_path(folder / "out.zarr").exists()
    computed = strips_computed(monkeypatch)
    np.testing.assert_array_equal(correlate(folder), correlate(folder, "undisturbed.zarr"))
    assert computed == [5] + [0, 5]


def test_a_correlation_goes_on_where_the_disk_was_full(two_stores, tmp_path, monkeypatch, capfd):
    message = interrupt(tmp_path, monkeypatch)
    assert ".out.zarr.pieces/" in message
    assert "-0-1.npz cannot be written: [Errno 28] No space left" in message
    assert "going on" not in "".join(capfd.readouterr())
    assert_the_rerun_computes_only_the_second_strip(tmp_path, monkeypatch)
    assert "".join(capfd.readouterr()).count("1 of 2 pieces of this tile are there already") == 1


def test_a_killed_correlation_keeps_the_strip_it_has_computed(two_stores, tmp_path, monkeypatch):
    code = "import sys; sys.path.append(sys.argv[2]); import test_interruptions as t"
    code += "; t.np.savez = t.once(t.np.savez, t.kill); t.correlate(t.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, tmp_path, ROOT / "tests"]
    job = subprocess.run(command, cwd=Path(__file__).parent)
    assert job.returncode == -signal.SIGKILL
    assert_the_rerun_computes_only_the_second_strip(tmp_path, monkeypatch)


def piece_that_kills_its_worker_once(job, units, images, file, measured, piece=pieces.piece):
    marker = Path(file).parents[1] / "killed"
    if images[0] == 3 and not marker.exists():
        marker.touch()
        np.savez = kill
    return piece(job, units, images, file, measured)


@pytest.mark.parametrize("interrupted", [0, 1, 7, 9, 11, 12])
def test_moments_that_a_correlation_takes_are_lost_with_no_part_of_it(
    two_stores, tmp_path, monkeypatch, interrupted
):
    saved = itertools.count()

    def savez(target, **arrays):
        (fill_the_disk if next(saved) == interrupted else original)(target, **arrays)

    original, settings = np.savez, {"strip": 1, "block": 1}
    of_b, again = tmp_path / "taken/b.zarr", tmp_path / "again/b.zarr"
    with monkeypatch.context() as patch:
        # Means, ten strips with a total after the eighth, moments of the tile, the tile.
        patch.setattr(np, "savez", savez)
        message_of(lambda: correlate(tmp_path, taken=of_b, **settings))
    assert not of_b.exists()
    computed = strips_computed(monkeypatch)
    found = correlate(tmp_path, taken=of_b, **settings)
    assert len(computed) <= 12 - max(2, interrupted)
    undisturbed = correlate(tmp_path, "undisturbed.zarr", taken=again, **settings)
    np.testing.assert_array_equal(found, undisturbed)
    xr.testing.assert_identical(opened(of_b), opened(again))


def test_a_worker_killed_within_a_strip_changes_no_bit(two_stores, tmp_path, monkeypatch):
    undisturbed = correlate(tmp_path, "undisturbed.zarr", strip=3)
    monkeypatch.setattr(step, "piece", piece_that_kills_its_worker_once)
    monkeypatch.setattr(cluster, "TOGETHER", 0)  # each worker is a process
    np.testing.assert_array_equal(correlate(tmp_path, strip=3, workers=2), undisturbed)
    assert (tmp_path / "killed").exists()


def maps_anew(folder):
    return write_maps(folder / "a.zarr", random_maps(7, 10, (3, 4, 4), (2, 12, 30)))


def moments_anew(folder):
    moments.measure(maps_anew(folder / "other"), moments_of(folder / "a.zarr"))


def test_moments_of_other_maps_are_refused(two_stores, tmp_path):
    moments_anew(tmp_path)
    with pytest.raises(errors.StoreError, match="two versions of activations of a on samples"):
        correlate(tmp_path)


@pytest.mark.parametrize("change", [{"strip": 4}, {"block": 2}, maps_anew])
def test_pieces_of_other_settings_or_stores_are_not_used(two_stores, tmp_path, monkeypatch, change):
    interrupt(tmp_path, monkeypatch)
    if callable(change):
        change(tmp_path)
    computed = strips_computed(monkeypatch)
    correlate(tmp_path, **({} if callable(change) else change))
    assert 0 in computed


def test_maps_do_not_depend_on_the_images_in_a_shard(tiny, tmp_path):
    few, all_at_once = (dump(tiny, tmp_path / f"{n}.zarr", n, "float32") for n in (3, 10))
    for layer in few | all_at_once:
        np.testing.assert_allclose(few[layer], all_at_once[layer], atol=1e-5)


def test_moments_do_not_depend_on_the_images_in_a_shard(tmp_path):
    maps = random_maps(1, 10, (3, 4, 4), (2, 12, 30))
    stores = [write_maps(tmp_path / str(n) / "a.zarr", maps, n) for n in (3, 10)]
    xr.testing.assert_allclose(*(opened(moments_of(s)) for s in stores), rtol=1e-9, atol=0)


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def altered(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 255]) + content[-8:]


def flipped(content: bytes) -> bytes:
    return bytes([*content[:20], content[20] ^ 255]) + content[21:]


@pytest.mark.parametrize(
    ("file", "damage", "named", "rewritten"),
    [
        ("activation/c/1/0/0/0", truncated, "activation/c/1/0/0/0 has", [4]),
        ("activation/c/2/0/0/0", altered, "c/2/0/0/0 has another content than was written", [8]),
        ("activation/c/2/0/0/0", flipped, "activation/c/2/0/0/0 cannot be decoded", [8]),
        (
            "activation/zarr.json",
            truncated,
            "its metadata .* are altered",
            [0, 4, 8],
        ),
        ("../zarr.json", altered, "its metadata .* are altered", [0, 4, 8]),
    ],
)
def test_a_damaged_file_of_a_dump_is_named_and_the_next_run_mends_it(
    tiny, tmp_path, monkeypatch, file, damage, named, rewritten
):
    store = tmp_path / "maps.zarr"
    whole = dump(tiny, store)
    path = store / next(iter(whole)) / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(errors.StoreError, match=f"{store.name} is damaged: .*{named}"):
        MapReader(store).read(next(iter(whole)), IMAGES)
    written = blocks_written(monkeypatch)
    np.testing.assert_equal(dump(tiny, store), whole)
    assert written == rewritten


@pytest.mark.parametrize("damage", [truncated, altered])
def test_damaged_moments_are_refused_until_they_are_measured_anew(tmp_path, damage):
    store = moments_of(write_maps(tmp_path / "a.zarr", random_maps(1, 10, (2, 12, 30))))
    path = store / "layer0/mean_map/c/0/0/0"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(errors.StoreError, match="is damaged: .*written anew"):
        check_dataset(store)
    assert not manifest_path(store).exists()


def test_a_shard_that_is_lost_while_it_is_read_is_no_number(two_stores, tmp_path, monkeypatch):
    """Zarr reads an absent shard as NaN, which would be taken for a unit that never varies."""
    shard = tmp_path / "b.zarr/layer1/activation/c/0/0/0/0"
    sum_products = pieces.sum_products

    def without_a_shard(*arguments, **settings):
        away = shard.rename(shard.with_name("away"))
        sums = sum_products(*arguments, **settings)
        away.rename(shard)
        return sums

    monkeypatch.setattr(pieces, "sum_products", without_a_shard)
    with pytest.raises(errors.StoreError, match="layer1/activation/c/0/0/0/0 is missing; 1 of"):
        correlate(tmp_path)
    assert not manifest_path(tmp_path / "b.zarr").exists()


def test_a_piece_of_an_earlier_run_is_not_taken_for_one_of_this(two_stores, tmp_path, monkeypatch):
    """A task of a run that was killed may still write into the folder of the next."""
    interrupt(tmp_path, monkeypatch)
    folder = tmp_path / ".out.zarr.pieces"
    late = next(folder.glob("*-0-0.npz"))
    content = late.read_bytes()
    compute = step.compute

    def late_piece_first(*arguments, **progress):
        (folder / late.name).write_bytes(content)
        compute(*arguments, **progress)

    monkeypatch.setattr(step, "compute", late_piece_first)
    maps_anew(tmp_path)
    found = correlate(tmp_path)
    monkeypatch.undo()
    np.testing.assert_array_equal(found, correlate(tmp_path, "undisturbed.zarr"))


def test_a_file_that_no_worker_wrote_here_or_that_is_damaged_is_named(tmp_path):
    file = tmp_path / "0.npz"
    with pytest.raises(errors.StoreError, match="0.npz is missing, .* file system that all"):
        totals.load(file)
    file.write_bytes(b"PK no archive")
    with pytest.raises(errors.StoreError, match="0.npz is damaged .* and was removed"):
        totals.load(file)
    assert not file.exists()


def test_what_lies_on_disk_does_not_grow_with_the_images(two_stores, tmp_path, monkeypatch):
    undisturbed = correlate(tmp_path, "undisturbed.zarr", strip=1)
    monkeypatch.setattr(totals, "FOLDED", 3)
    seen, add = [], totals.Total.add

    def counted(total, finished):
        add(total, finished)
        seen.append(len(list(total.file.parent.glob("*.npz"))))

    monkeypatch.setattr(totals.Total, "add", counted)
    np.testing.assert_array_equal(correlate(tmp_path, strip=1), undisturbed)
    assert len(seen) == 10 and max(seen) <= 3 + 1 + 1  # pieces, one that is early, and a total


@pytest.mark.parametrize("at", [4, 7, 9])
def test_a_total_is_gone_on_with(two_stores, tmp_path, monkeypatch, at):
    """Killed while or after pieces were folded into a total: not one is lost or added twice."""
    undisturbed = correlate(tmp_path, "undisturbed.zarr", strip=1)
    monkeypatch.setattr(totals, "FOLDED", 3)
    add = totals.Total.add

    def killed(total, finished):
        if len(finished) > at:
            raise KeyboardInterrupt
        add(total, finished)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(totals.Total, "add", killed)
        correlate(tmp_path, strip=1)
    computed = strips_computed(monkeypatch)
    np.testing.assert_array_equal(correlate(tmp_path, strip=1), undisturbed)
    assert len(computed) < 10 - 3 and 0 not in computed
