"""Weights of Keras, in HDF5 files and in pickles: names and layout of torch; nothing is run."""

import os
import pickle
import re

import h5py
import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d, linear

from rosetta_steps.zoo.checkpoints.keras_files import from_keras
from rosetta_steps.zoo.checkpoints.reading import read_checkpoint

RANDOM = np.random.default_rng(0)


def values(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


KERNEL, BIAS, MATRIX = values(3, 2, 4, 5), values(5), values(6, 7)


def test_a_kernel_gives_the_convolution_that_keras_computes():
    """Against the sum of products over the kernel's axes (y, x, in, out), written out."""
    image = values(1, 8, 9, 4)
    expected = np.zeros((1, 6, 8, 5))
    for y in range(6):
        for x in range(8):
            window = image[0, y : y + 3, x : x + 2].astype(np.float64)
            expected[0, y, x] = np.einsum("yxi,yxio->o", window, KERNEL) + BIAS
    tensors = from_keras({"block/conv": [torch.from_numpy(KERNEL), torch.from_numpy(BIAS)]})
    found = conv2d(
        torch.from_numpy(image).permute(0, 3, 1, 2),
        tensors["block.conv.weight"],
        tensors["block.conv.bias"],
    )
    np.testing.assert_allclose(found.permute(0, 2, 3, 1), expected, rtol=1e-5, atol=1e-5)


def test_a_kernel_of_a_transposed_convolution_and_a_matrix_are_turned_too():
    kernel = values(2, 2, 3, 4)  # Keras: (y, x, out, in)
    image, row = values(1, 4, 1, 1), values(1, 6)
    tensors = from_keras({"up": [torch.from_numpy(kernel)], "d": [torch.from_numpy(MATRIX)]})
    found = conv_transpose2d(torch.from_numpy(image), tensors["up.weight"])
    expected = np.einsum("yxoi,i->oyx", kernel, image[0, :, 0, 0])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)
    found = linear(torch.from_numpy(row), tensors["d.weight"])
    np.testing.assert_allclose(found, row @ MATRIX, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_lists_of_arrays_is_read_in_every_protocol(protocol, tmp_path):
    content = {"a/conv": [KERNEL, BIAS], "norm": [values(3) for _ in range(4)]}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol))
    found = read_checkpoint(tmp_path / "w.pkl", ignore=["norm.running_*"])
    assert found.layout == "keras" and found.left_out == ["norm.running_mean", "norm.running_var"]
    assert list(found.tensors) == ["a.conv.weight", "a.conv.bias", "norm.weight", "norm.bias"]
    np.testing.assert_array_equal(found.tensors["a.conv.weight"], KERNEL.transpose(3, 2, 0, 1))


class Call:
    """Pickled as a call of os.system."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_a_pickle_with_a_call_among_its_arrays_is_refused_by_the_name_of_the_call(module, tmp_path):
    marker = tmp_path / "ran"
    written = pickle.dumps({"conv1": [KERNEL, Call(marker)]}, 2)
    names = re.escape(b"numpy._core.multiarray"), re.escape(b"numpy.core.multiarray")
    written = re.sub(b"|".join(names), module, written)
    (tmp_path / "w.pkl").write_bytes(written)
    with pytest.raises(ValueError, match=r"its layer conv1 holds (posix|nt).system\(...\)"):
        read_checkpoint(tmp_path / "w.pkl")
    assert not marker.exists()


def test_arrays_of_objects_and_layers_of_other_kinds_are_refused(tmp_path):
    for content, words in (
        ({"a": [KERNEL, np.array([{}], object)]}, "its layer a holds numpy.ndarray"),
        ({1: [KERNEL]}, "the name of a layer is 1"),
        ({"lstm": [KERNEL, KERNEL, BIAS]}, "its layer lstm has 3 arrays"),
    ):
        (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=words):
            read_checkpoint(tmp_path / "w.pkl")


@pytest.fixture
def file(tmp_path):
    """An HDF5 file to write into, and what reading it says."""
    path = tmp_path / "w.weights.h5"

    def refusal() -> str:
        with pytest.raises(ValueError, match="cannot be read") as caught:
            read_checkpoint(path)
        return str(caught.value)

    with h5py.File(path, "w") as opened:
        yield opened, path, refusal


def test_layers_of_an_hdf5_file_come_in_the_order_of_their_numbers(file):
    opened, path, _ = file
    for name in ("conv2d", "conv2d_10", "conv2d_2", "conv2d_1"):
        opened[f"block/layers/{name}/vars/0"], opened[f"block/layers/{name}/vars/1"] = KERNEL, BIAS
    opened["fuse/vars/0"] = KERNEL.astype(">f4")
    opened.close()
    tensors = read_checkpoint(path).tensors
    layers = [f"block.layers.conv2d{end}" for end in ("", "_1", "_2", "_10")]
    parts = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert list(tensors) == [*parts, "fuse.weight"]
    np.testing.assert_array_equal(tensors["fuse.weight"], KERNEL.transpose(3, 2, 0, 1))


def test_arrays_that_are_named_as_before_keras_3_are_told_apart_by_their_names(file):
    opened, path, _ = file
    for number, name in enumerate(("gamma", "beta", "moving_mean", "moving_variance")):
        opened[f"bn/bn/{name}:0"] = np.full(5, number, np.float32)
    opened["conv/conv/bias:0"], opened["conv/conv/kernel:0"] = BIAS, KERNEL
    opened.close()
    tensors = read_checkpoint(path).tensors
    parts = ("weight", "bias", "running_mean", "running_var")
    assert [float(tensors[f"bn.bn.{part}"][0]) for part in parts] == [0, 1, 2, 3]
    np.testing.assert_array_equal(tensors["conv.conv.bias"], BIAS)
    np.testing.assert_array_equal(tensors["conv.conv.weight"], KERNEL.transpose(3, 2, 0, 1))


@pytest.mark.parametrize("names", [("moving_mean:0", "moving_variance:0"), ("0", "kernel:0")])
def test_named_arrays_of_another_kind_of_layer_are_refused(file, names):
    opened, _, refusal = file
    for name in names:
        opened[f"layer/{name}"] = BIAS
    opened.close()
    assert f"its layer layer has {', '.join(names)}, which are those of no convolution" in refusal()


def test_what_lies_elsewhere_or_claims_more_than_there_is_is_refused(file, tmp_path):
    opened, path, refusal = file
    (tmp_path / "secret").write_bytes(bytes(400))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["a"] = KERNEL
    for name, put, words in (
        ("soft", lambda: opened.__setitem__("soft", h5py.SoftLink("/x")), "soft is a link"),
        (
            "external",
            lambda: opened.__setitem__("external", h5py.ExternalLink("other.h5", "a")),
            "external is a link",
        ),
        (
            "stored",
            lambda: opened.create_dataset(
                "stored", (100,), "f4", external=[(str(tmp_path / "secret"), 0, 400)]
            ),
            "stored lies in another file",
        ),
        (
            "claims",
            lambda: opened.create_dataset("claims", (1 << 20, 1 << 20), "f4", chunks=(8, 8)),
            "claims is compressed or not whole",
        ),
        (
            "bomb",
            lambda: opened.create_dataset("bomb", data=np.zeros(1 << 20), compression="gzip"),
            "bomb is compressed",
        ),
        ("words", lambda: opened.__setitem__("words", "text"), "words is no array of numbers"),
    ):
        put()
        opened.flush()
        assert words in refusal()
        del opened[name]


def test_a_group_that_holds_itself_and_a_virtual_dataset_are_refused(file, tmp_path):
    opened, path, refusal = file
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "a", shape=(3,))
    opened.create_virtual_dataset("virtual", layout)
    opened.flush()
    assert "virtual lies in another file" in refusal()
    del opened["virtual"]
    opened["group"] = opened["/"]
    opened.flush()
    assert "a group that holds itself" in refusal()


def test_a_damaged_file_is_refused_in_one_line(file, tmp_path):
    opened, path, _ = file
    opened["a/vars/0"], opened["b/vars/0"] = values(3, 3, 30, 30), BIAS
    opened.close()
    whole = path.read_bytes()
    for end in (30, 500, 1000, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"w.weights.h5 cannot be read.*damaged"):
            read_checkpoint(path)
    (tmp_path / "empty.h5").unlink(missing_ok=True)
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(ValueError, match="it holds no arrays"):
        read_checkpoint(tmp_path / "empty.h5")
    random = np.random.default_rng(1)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 5):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            found = read_checkpoint(path).tensors
        except ValueError:
            continue
        assert sum(one.numel() for one in found.values()) <= len(whole)
