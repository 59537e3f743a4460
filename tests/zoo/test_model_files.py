"""A model follows from all of its files: each of them counts in its digest and is checked."""

import hashlib
import json
import os
import shutil
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from rosetta_steps.zoo import model_files, weights
from rosetta_steps.zoo.checkpoints.convert import convert
from rosetta_steps.zoo.checkpoints.reading import read_checkpoint
from rosetta_steps.zoo.entries import check
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.model_files import companions_of, digest, files_of
from rosetta_steps.zoo.weights import sha256_of_weights, weights_file


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """As a new process is: nothing was checked in it."""
    monkeypatch.setattr(weights, "_checked", {})
    monkeypatch.setenv("ROSETTA_STEPS_CACHE", str(tmp_path / "cache"))


def graph_of(seed, *locations):
    """A file whose tensors lie in others: those of a Constant, of a branch and of the graph."""
    values = np.random.default_rng(seed).normal(size=(len(locations) or 1, 64))
    tensors = [
        numpy_helper.from_array(value.astype(np.float32), f"w{place}")
        for place, value in enumerate(values)
    ]
    for tensor, location in zip(tensors, locations, strict=False):
        onnx.external_data_helper.set_external_data(tensor, location)
    nodes = [helper.make_node("Constant", [], ["k"], value=tensors[0])]
    if len(tensors) > 1:
        value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        inner = [helper.make_node("Identity", ["w1"], ["y"])]
        branch = helper.make_graph(inner, "b", [], [value], tensors[1:2])
        nodes += [
            helper.make_node("If", ["go"], ["y"], then_branch=branch, else_branch=branch),
        ]
    go = numpy_helper.from_array(np.array(True), "go")
    graph = helper.make_graph(nodes, "net", [], [], [*tensors[2:], go])
    return helper.make_model(graph)


def saved(folder, seed, *locations):
    for location in locations:
        (folder / location).parent.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    onnx.save(graph_of(seed, *locations), folder / "net.onnx")
    return folder / "net.onnx"


def entry_of(path, **more):
    return Entry("model", "onnx", {}, Weights(path=str(path), **more))


def plain(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_digest_of_one_file_is_its_sha256(tmp_path):
    path = saved(tmp_path, 0)
    assert companions_of(path) == []
    assert sha256_of_weights("net", entry_of(path)) == digest([path]) == plain(path)
    assert weights_file("net", entry_of(path, sha256=plain(path)[:8])) == path


def test_the_data_beside_an_onnx_file_counts_wherever_its_tensors_are(tmp_path):
    path = saved(tmp_path, 0, "one.bin", "two.bin", "deep/three.bin")
    assert companions_of(path) == ["deep/three.bin", "one.bin", "two.bin"]
    digests = [sha256_of_weights("net", entry_of(path))]
    for name in companions_of(path):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[::-1])
        digests.append(sha256_of_weights("net", entry_of(path)))
    assert len(set(digests)) == 4


def test_a_missing_file_is_named_by_the_job_and_ends_no_parsing(tmp_path):
    path = saved(tmp_path, 0, "one.bin")
    (tmp_path / "one.bin").unlink()
    assert sha256_of_weights("net", entry_of(path)) is None
    with pytest.raises(
        ValueError, match="net: .*net.onnx keeps a part .*one.bin, and there is no f"
    ):
        weights_file("net", entry_of(path))
    os.mkfifo(tmp_path / "one.bin")
    with pytest.raises(ValueError, match="one.bin is no regular file"):
        weights_file("net", entry_of(path))


@pytest.mark.parametrize("location", ["../one.bin", "/etc/hostname", "a/../../one.bin"])
def test_a_file_outside_the_folder_is_not_opened(tmp_path, location):
    (tmp_path / "one.bin").write_bytes(bytes(256))
    path = tmp_path / "net" / "net.onnx"
    path.parent.mkdir()
    model = graph_of(0)
    tensor = model.graph.node[0].attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    assert sha256_of_weights("net", entry_of(path)) is None
    with pytest.raises(
        ValueError, match=f"refers to the file '{location}', which is not in its own"
    ):
        weights_file("net", entry_of(path))


def test_the_sha256_of_an_entry_holds_all_files(tmp_path):
    path = saved(tmp_path, 0, "one.bin")
    whole = digest(files_of(entry_of(path), path))
    assert weights_file("net", entry_of(path, sha256=whole)) == path
    alone = entry_of(path, sha256=plain(path))
    with pytest.raises(
        ValueError, match=f"gives the sha256 of net.onnx alone.*one.bin.*is {whole}"
    ):
        weights_file("net", alone)
    (tmp_path / "one.bin").write_bytes(bytes(256))
    with pytest.raises(ValueError, match="files net.onnx, one.bin have the sha256 .* together"):
        weights_file("net", entry_of(path, sha256=whole))


def test_a_source_of_one_file_refuses_one_that_needs_two(tmp_path, monkeypatch):
    path = saved(tmp_path / "made", 0, "one.bin")
    url = "https://example.org/net.onnx"
    entry = Entry("model", "onnx", {}, Weights(url=url))
    monkeypatch.setattr(weights, "fetch_file", lambda _, target: shutil.copy(path, target))
    for _ in range(2):  # nothing is kept
        with pytest.raises(
            ValueError, match="net.onnx from https://.* a part .*one.bin, and this s"
        ):
            weights_file("net", entry)
    assert not weights.location(entry).is_file()


def test_shards_and_their_index_count(tmp_path):
    for name in ("a", "b"):
        save_file({name: torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    names = {"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    index.write_text(json.dumps(names))
    entry = Entry("model", "", "net", Weights(path=str(index)))
    before = sha256_of_weights("net", entry)
    assert before == digest([index, tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    save_file({"b": torch.ones(2)}, tmp_path / "b.safetensors")
    assert sha256_of_weights("net", entry) != before
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(ValueError, match="there is no file .*a.safetensors"):
        weights_file("net", entry)
    index.write_text('{"weight_map": 7}')  # its reader says so
    assert sha256_of_weights("net", entry) == plain(index)


def test_the_settings_beside_a_converted_checkpoint_count_and_no_other_json(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "net.pt")
    path = convert(tmp_path / "net.pt", tmp_path / "made")
    assert companions_of(path) == ["made.json"]
    path.with_suffix(".json").write_text('{"learning_rate": 1}')
    assert companions_of(path) == []


def test_a_pipe_beside_a_checkpoint_is_not_waited_for(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "net.safetensors")
    os.mkfifo(tmp_path / "net.json")
    assert companions_of(tmp_path / "net.safetensors") == []
    assert list(read_checkpoint(tmp_path / "net.safetensors").tensors) == ["w"]


def function_entry(**weights):
    return Entry.from_mapping(
        {
            "loader": "function",
            "architecture": {"function": "net:build"},
            "weights": {"function": True, **weights},
            "source": "mine",
            "licence": "mine",
        }
    )


def test_files_that_a_function_reads_count_where_its_entry_names_them(tmp_path):
    assert sha256_of_weights("net", function_entry()) is None
    files = [tmp_path / "a.bin", tmp_path / "b.bin"]
    for file in files:
        file.write_bytes(file.name.encode())
    entry = function_entry(files=[str(file) for file in files])
    check({"net": entry.to_mapping()}, "models", "models.yaml")
    before = sha256_of_weights("net", entry)
    assert before == digest(files)
    assert sha256_of_weights("net", function_entry(files=[str(files[0])])) == plain(files[0])
    files[1].write_bytes(b"other")
    assert sha256_of_weights("net", entry) != before
    with pytest.raises(ValueError, match="the sha256 .* together, its entry says"):
        weights_file("net", function_entry(files=entry.weights.files, sha256=before))
    files[0].unlink()
    with pytest.raises(
        ValueError, match="net: weights.files of its entry names .*a.bin, and there"
    ):
        weights_file("net", entry)


def test_files_beside_one_that_is_fetched_are_refused(tmp_path):
    entry = Entry("model", "", "net", Weights(url="https://x.org/w.pt", files=("a",)))
    with pytest.raises(ValueError, match="weights.files names local files beside https"):
        weights_file("net", entry)


def test_a_file_is_read_once_for_all_rules_until_it_changes(tmp_path, monkeypatch):
    path = saved(tmp_path, 0, "one.bin")
    monkeypatch.setattr(model_files, "sha256", read := Mock(side_effect=model_files.sha256))
    first = {sha256_of_weights("net", entry_of(path)) for _ in range(5)}
    assert read.call_count == 2
    before = (tmp_path / "one.bin").stat()
    (tmp_path / "one.bin").write_bytes(bytes(before.st_size))  # as long, and as old
    os.utime(tmp_path / "one.bin", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert {sha256_of_weights("net", entry_of(path))} != first
