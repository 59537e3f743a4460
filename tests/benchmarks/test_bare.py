"""Bare costs: a forward pass is the library's own, and maps are written and read as they were."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rosetta_steps.benchmarks.bare import forward_pass, store_seconds
from rosetta_steps.testing import random_maps, write_maps
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.models import onnx_models

KERNEL = np.random.default_rng(0).normal(size=(5, 3, 1, 1)).astype(np.float32)


@pytest.fixture(params=["n", 2])  # any batch, and two images at a time
def model(request, tmp_path):
    """An ONNX file: a convolution, a ReLU, which is a layer, and its mean, which is the output."""
    shape = (request.param, 3, 8, 8)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["c"], "c"),
            helper.make_node("Relu", ["c"], ["r"], "r"),
            helper.make_node("GlobalAveragePool", ["r"], ["mean"], "mean"),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, (request.param, 5, 1, 1))],
        [numpy_helper.from_array(KERNEL, "kernel")],
    )
    path = tmp_path / "tiny.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path)
    preprocessing = {"size": [8, 8], "interpolation": "bilinear", "mean": [0] * 3, "std": [1] * 3}
    entry = Entry.from_mapping(
        {
            "role": "model",
            "loader": "onnx",
            "architecture": {},
            "weights": {"path": str(path)},
            "preprocessing": preprocessing,
            "layers": {"block": ["*"]},
        }
    )
    return onnx_models.load("tiny", entry, path, "cpu")


def test_the_pass_of_an_onnx_file_gives_its_own_outputs_and_no_maps(model):
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    outputs = forward_pass(model, "model", ["r"])(images)
    assert {len(output) for output in outputs} == {1}
    means = np.concatenate([output[0] for output in outputs])[:3, :, 0, 0]
    maps = np.einsum("oc,bcyx->boyx", KERNEL[:, :, 0, 0], images.numpy())
    np.testing.assert_allclose(means, np.maximum(maps, 0).mean((2, 3)), rtol=1e-5)


def test_the_pass_of_a_model_of_a_class_of_ones_own_gives_its_last_layer():
    class Own:
        def activations(self, images, layers):
            return {name: images for name in layers}

    assert list(forward_pass(Own(), "model", ["first", "last"])(torch.zeros(1))) == ["last"]


def test_the_pass_of_a_generator_gives_images():
    class Generator:
        def generate(self, latents, labels, truncation):
            return latents, labels, truncation

    assert forward_pass(Generator(), "generator", ["a"])(1, None, 0.7) == (1, None, 0.7)


def test_a_store_is_written_anew_and_left_as_it_was(tmp_path):
    store = write_maps(tmp_path / "a.zarr", random_maps(0, 10, (3, 4, 4), (2, 8, 8)))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    written, read = store_seconds(store)
    assert written > 0
    assert read > 0
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
