"""The proof of a model: its maps are steady, and each answers where the image is changed."""

import json

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from rosetta_steps.zoo import proof
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.layouts import Tokens
from rosetta_steps.zoo.loading import choose_layers, load
from rosetta_steps.zoo.models import functions, onnx_models, timm_models
from rosetta_steps.zoo.models.preprocessing import Preprocessing
from rosetta_steps.zoo.models.torch_models import Model

PLAIN = {"interpolation": "bilinear", "mean": [0, 0, 0], "std": [1, 1, 1]}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_of(module, size=(64, 64), tokens=None):
    return Model(
        "net", module, Preprocessing(size, "bilinear", (0,) * 3, (1,) * 3), "cpu", tokens=tokens
    )


def of_timm(name, size, **arguments):
    torch.manual_seed(0)
    module = timm.create_model(name, **arguments).eval()
    return model_of(module, size, timm_models.tokens_of(module, size))


class Reads(nn.Module):
    """A small network whose map is given to an activation as `read` lays it out."""

    def __init__(self, read, stride=8):
        super().__init__()
        torch.manual_seed(0)
        self.read = read
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, stride, stride), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
        )
        self.act = nn.GELU()

    def forward(self, x):
        return self.act(self.read(self.net(x)))


def unfolded(x):
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 1, 3, 5, 2, 4).flatten(2)


def in_windows(x):
    return x.unflatten(3, (-1, 4)).unflatten(2, (-1, 4)).permute(0, 1, 2, 4, 3, 5)


WRONG = {
    "rows and columns swapped": lambda x: x.mT,
    "upside down": lambda x: x.flip(2),
    "half a map to the side": lambda x: x.roll(4, 3),
    "shuffled": lambda x: x.flatten(2)[..., torch.randperm(64)].view_as(x),
    "window by window": lambda x: in_windows(x).reshape(x.shape),
    "patches unfolded": lambda x: unfolded(x).view_as(x),
    "heads, tokens and their dimensions": lambda x: x.flatten(2).mT.reshape(len(x), 8, 8, 8),
}


def test_a_map_that_is_read_as_it_lies_passes():
    for size in ((64, 64), (64, 96), (40, 64)):
        model = model_of(Reads(lambda x: x), size)
        assert proof.prove(model, ["net.1", "act"]) == {}


@pytest.mark.parametrize("kind", WRONG)
def test_a_map_that_is_read_in_another_order_is_found_out(kind):
    torch.manual_seed(1)
    order = torch.randperm(64)
    read = WRONG[kind] if kind != "shuffled" else (lambda x: x.flatten(2)[..., order].view_as(x))
    found = proof.prove(model_of(Reads(read)), ["net.1", "act"])
    assert list(found) == ["act"]
    assert "answer" in found["act"]


def test_the_order_that_a_map_was_read_in_is_named():
    named = [kind for kind in WRONG if kind != "shuffled"]
    said = {kind: proof.prove(model_of(Reads(WRONG[kind])), ["act"])["act"] for kind in named}
    assert "as if its rows and columns were swapped" in said["rows and columns swapped"]
    assert "in windows of 4 x 4" in said["window by window"]
    assert "pixel by pixel of patches of 2 x 2" in said["patches unfolded"]
    assert "columns were shifted by 4" in said["half a map to the side"]


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("test_efficientnet", {}, (96, 128)),
        ("test_vit", {"img_size": (64, 96)}, (64, 96)),
        ("test_convnext", {}, (160, 160)),
        ("test_byobnet", {}, (128, 128)),
        ("pvt_v2_b0", {}, (96, 128)),
        ("vit_tiny_patch16_224", {"img_size": 96}, (96, 96)),
        ("gmlp_ti16_224", {"img_size": 64}, (64, 64)),
    ],
)
def test_no_layer_of_a_true_model_is_lost_however_deep(name, arguments, size):
    model = of_timm(name, size, **arguments)
    layers = [layer.name for layer in model.layers()]
    assert layers
    assert proof.prove(model, layers) == {}


def test_what_a_mobilevit_v2_unfolds_is_left_out_by_its_proportions_or_by_the_proof():
    for size, hidden in ((128, True), (256, False)):
        model = of_timm("mobilevitv2_050", (size, size))
        refused = {}
        layers = [layer.name for layer in model.layers(None, refused)]
        found = proof.prove(model, layers)
        # At 128 pixels those of the last stage are 4 x 4.
        assert all("transformer" in layer for layer in {**refused, **found})
        assert len(refused) + len(found) == 9
        assert ("stages.4.1.transformer.0.mlp.act" in found) == hidden
        assert not [layer for layer in layers if "transformer" in layer and layer not in found]


def test_attention_of_as_many_tokens_as_dimensions_is_left_out():
    model = of_timm("efficientvit_b0", (128, 128))
    layers = [layer.name for layer in model.layers()]
    found = proof.prove(model, layers)
    kernels = {layer for layer in layers if "kernel_func" in layer}
    assert kernels
    assert set(found) == kernels


def test_tokens_in_the_order_of_mask_units_are_found_out_even_if_an_entry_declares_a_grid():
    torch.manual_seed(0)
    module = timm.create_model("hiera_tiny_224", stages=(1, 1, 1, 1)).eval()
    tokens = Tokens(((56, 56), (28, 28), (14, 14), (7, 7)))
    model = model_of(module, (224, 224), tokens)
    layers = [layer.name for layer in model.layers()]
    found = proof.prove(model, layers)
    # Those of the last stage lie row by row: a mask unit is one token there.
    assert set(layers) - set(found) <= {"blocks.3.mlp.act"}


def test_a_layer_that_is_the_same_everywhere_or_does_not_change_has_no_place():
    class Pooled(Reads):
        def forward(self, x):
            x = self.net(x)
            return self.act(x.mean((2, 3), keepdim=True).expand_as(x).clone())

    words = proof.prove(model_of(Pooled(None)), ["act"])
    assert words == {"act": "has the same values at all positions, so that none has a place"}
    model = model_of(Reads(lambda x: torch.arange(64.0).view(1, 1, 8, 8).expand_as(x).clone()))
    assert proof.prove(model, ["act"]) == {"act": "does not change with the image beyond rounding"}


# Steadiness


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda x: nn.functional.dropout(x, 0.1), "two passes over an image differ.* layer act"),
        (lambda x: x - x.mean(0), "depend on the other images of its batch, first in layer act"),
        (lambda x: (x / x.amax() * 127).round() / 127, "depend on .*dynamic quantisation"),
    ],
)
def test_maps_that_are_not_steady_are_refused(read, words):
    with pytest.raises(ValueError, match=f"net: .*{words}"):
        proof.prove(model_of(Reads(read)), ["net.1", "act"])


def test_a_module_that_a_pass_changes_is_refused():
    class Counts(Reads):
        def __init__(self):
            super().__init__(lambda x: x)
            self.register_buffer("passes", torch.zeros(()))

        def forward(self, x):
            self.passes += 1
            return super().forward(x)

    with pytest.raises(ValueError, match="net: a pass changes its state, first passes"):
        proof.prove(model_of(Counts()), ["act"])


def test_an_onnx_file_of_training_mode_is_refused(tmp_path):
    weight = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    values = [numpy_helper.from_array(weight, "w")]
    values += [
        numpy_helper.from_array(np.full(8, value, np.float32), key)
        for key, value in {"g": 1, "b": 0, "m": 0, "v": 1}.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        helper.make_node("BatchNormalization", [*"cgbmv"], ["n", "m2", "v2"], training_mode=1),
        helper.make_node("Relu", ["n"], ["r"], "relu"),
    ]
    taken = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])]
    graph = helper.make_graph(nodes, "net", taken, [onnx.ValueInfoProto(name="r")], values)
    path = tmp_path / "net.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    entry = Entry.from_mapping({"preprocessing": PLAIN | {"size": [16, 16]}})
    try:
        model = onnx_models.load("net", entry, path, "cpu")
    except ValueError:  # refused by name before
        return
    with pytest.raises(ValueError, match="two passes .* differ|depend on the other images"):
        proof.prove(model, ["relu"])


# What is done with the result


@pytest.fixture
def mobile(tmp_path, monkeypatch):
    """Entry of a MobileViTv2 with random weights, and its layers."""
    monkeypatch.setenv("ROSETTA_STEPS_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    save_file(timm.create_model("mobilevitv2_050").state_dict(), path)
    return Entry.from_mapping(
        {
            "loader": "timm",
            "architecture": "mobilevitv2_050",
            "weights": {"path": str(path)},
            "preprocessing": {"size": [128, 128]},
            "layers": {"last": ["stages.4.1.transformer.*", "stages.0.*"]},
        }
    )


def proven(entry, layers):
    return proof.prove_layers(
        "net", entry, choose_layers("net", entry, load("net", entry), layers), layers
    )


def test_layers_that_fail_are_left_out_by_name_and_the_proof_is_made_once(
    mobile, tmp_path, monkeypatch, capsys
):
    kept, left_out = proven(mobile, "all")
    assert len(left_out) == 9
    assert not {layer.name for layer in kept} & set(left_out)
    printed = capsys.readouterr().out
    assert "net: stages.4.1.transformer.0.mlp.act is left out, it answers to changes" in printed
    assert (
        "net: stages.2.1.transformer.0.mlp.act is left out, it has shape (2, 128, 4, 64)" in printed
    )
    monkeypatch.setattr(proof, "prove", lambda *_: pytest.fail("proven again"))
    assert proven(mobile, "all") == (kept, left_out)
    (file,) = (tmp_path / "cache/proofs").iterdir()
    assert json.loads(file.read_text())["model"] == "net"


def test_other_weights_are_proven_anew(mobile, tmp_path, monkeypatch):
    proven(mobile, ["stages.0.*"])
    torch.manual_seed(1)
    save_file(timm.create_model("mobilevitv2_050").state_dict(), tmp_path / "net.safetensors")
    again = []
    monkeypatch.setattr(proof, "prove", lambda *_: again.append(1) or {})
    proven(mobile, ["stages.0.*"])
    assert again


def test_a_pattern_that_has_no_layer_that_passes_is_refused_with_the_reason(mobile):
    for layers in (["stages.4.1.transformer.*", "stages.0.*"], "last"):
        with pytest.raises(
            ValueError, match=r"net: layer pattern 'stages.4.1.tr.*' has no layer that is a map: .*"
        ):
            proven(mobile, layers)


# Modules that cannot be tapped, and that need another layout in memory

OWN = """
import torch
from torch import nn


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU())


def scripted():
    return torch.jit.script(plain())


def traced():
    return torch.jit.trace(plain(), torch.zeros(1, 3, 16, 16))


def exported():
    batch = ({0: torch.export.Dim("b")},)
    return torch.export.export(plain(), (torch.zeros(2, 3, 16, 16),), dynamic_shapes=batch).module()


def half():
    return plain().half()


def bfloat16():
    return plain().bfloat16()


class Volume(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = plain()
        self.volume = nn.Conv3d(1, 1, 1)

    def forward(self, x):
        return self.net(self.volume(x[:, None])[:, 0])
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Loads a function of a module in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_proof.py").write_text(OWN)

    def load(function, weights):
        entry = {
            "architecture": {"function": f"own_proof:{function}"},
            "weights": {"function": True},
            "preprocessing": PLAIN | {"size": [16, 16]},
        }
        path = tmp_path if weights else None
        return functions.load("net", Entry.from_mapping(entry), path, "cpu")

    return load


@pytest.mark.filterwarnings("ignore")  # of torch, that TorchScript is old
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("scripted", "returns TorchScript .RecursiveScriptModule., which has no Python modules"),
        ("traced", "returns TorchScript .TopLevelTracedModule., .* loader: onnx"),
        ("exported", "cannot be set to eval mode .NotImplementedError.* An exported program"),
        ("half", r"parameters are float16, and images are float32: call .float\(\) on the module"),
        ("bfloat16", "parameters are bfloat16"),
    ],
)
def test_a_module_that_cannot_be_tapped_is_refused_with_the_way_out(own, function, words, weights):
    with pytest.raises(ValueError, match=f"net: .*{words}"):
        own(function, weights)


def test_a_module_with_weights_in_five_dimensions_is_run_without_channels_last(own):
    torch.manual_seed(0)
    model = own("Volume", True)
    x = torch.rand(2, 3, 16, 16)
    found = model.activations(x, ["net.1"])["net.1"]
    with torch.no_grad():
        expected = model.module.net[:2](model.module.volume(x[:, None])[:, 0])
    torch.testing.assert_close(found, expected)
