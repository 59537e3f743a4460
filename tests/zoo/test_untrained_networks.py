"""Untrained copies of models: random weights, the same units, and few of them dead."""

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper

from rosetta_steps.config.names import problem_of, split_untrained, untrained_name
from rosetta_steps.testing.networks import entry_of, write_dcgan, write_timm
from rosetta_steps.zoo.entries import entry_digest, find_entry
from rosetta_steps.zoo.models import onnx_models, timm_models
from rosetta_steps.zoo.opening import open_model
from rosetta_steps.zoo.rescaling import FEWEST, IMAGES, change_of, moments_of
from rosetta_steps.zoo.textures import textures
from rosetta_steps.zoo.untrained import how_drawn

SIZE = (32, 32)
PLAIN = {
    "size": list(SIZE),
    "interpolation": "bilinear",
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
}
# No batch norm: what keeps its maps alive is that channels keep their moments.
OWN = """
import torch
from torch import nn

def build():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(),
        nn.ConvTranspose2d(8, 6, 2, stride=2), nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    )
    for layer in net:
        if hasattr(layer, "weight"):
            nn.init.normal_(layer.weight, 0.1, 0.5)
    return net

class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
    def forward(self, x):
        return self.act(x)
"""


def write_onnx(file):
    """Conv, Relu, Conv, Relu and Gemm; the second weights are a Constant node."""
    random = np.random.default_rng(0)
    first = random.normal(0.1, 0.3, (8, 3, 3, 3)).astype(np.float32)
    second = random.normal(0.1, 0.3, (6, 8, 3, 3)).astype(np.float32)
    last = random.normal(0, 0.3, (6, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Constant", [], ["w1"], value=numpy_helper.from_array(second)),
        helper.make_node("Conv", ["x", "w0"], ["c0"], pads=[1] * 4),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("GlobalAveragePool", ["r1"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, *SIZE))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 5))],
        [numpy_helper.from_array(values, name) for name, values in (("w0", first), ("w2", last))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, file)
    return entry_of("onnx", {}, file, preprocessing=PLAIN)


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A generator, and a model of each kind of loader."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_untrained.py").write_text(OWN)
    called = {"function": "own_untrained:build"}
    bare = {"function": "own_untrained:Bare"}
    entries = {
        "generator": write_dcgan(tmp_path / "generator.safetensors"),
        "net": write_timm(tmp_path / "net.safetensors", size=32),
        "graph": write_onnx(tmp_path / "graph.onnx"),
        "own": entry_of("function", called, {"function": True}, preprocessing=PLAIN),
        "bare": entry_of("function", bare, {"function": True}, preprocessing=PLAIN),
    }
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump(entries))
    return str(tmp_path / "zoo.yaml")


def maps(name, zoo):
    model, images = open_model(name, zoo), textures(4)
    return model.loaded.activations(images, model.layers())


def test_a_name_and_a_seed_are_one_name_which_no_zoo_and_no_sample_set_may_give():
    name = untrained_name("resnet50.a1", 12)
    assert split_untrained(name) == ("resnet50.a1", 12)
    assert split_untrained("resnet50.untrained") == ("resnet50.untrained", None)
    assert split_untrained(".untrained-1")[1] is None
    said = problem_of("model", name)
    assert "which is an untrained copy of resnet50.a1" in said and "untrained: 3" in said
    assert problem_of("model", "my.untrained-x") is None


def test_a_copy_has_the_entry_of_its_model_and_an_identity_of_its_own(zoo):
    entry, copies = find_entry("net", zoo), [find_entry(f"net.untrained-{n}", zoo) for n in (0, 1)]
    assert [copy.untrained for copy in copies] == [0, 1] and entry.untrained is None
    assert copies[0].weights == entry.weights and copies[0].layers == entry.layers
    assert len({entry_digest(one) for one in (entry, *copies)}) == 3
    with pytest.raises(ValueError, match="no model 'nett' in .*net"):
        find_entry("nett.untrained-0", zoo)
    with pytest.raises(ValueError, match="generator is a generator, of which no untrained copy"):
        find_entry("generator.untrained-0", zoo)


@pytest.mark.parametrize("name", ["net", "graph", "own"])
def test_the_seed_alone_decides_the_maps_of_the_same_layers_and_few_units_are_dead(name, zoo):
    trained = maps(name, zoo)
    torch.manual_seed(99)
    one, again, other = (maps(f"{name}.untrained-{seed}", zoo) for seed in (0, 0, 1))
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in trained.items()}
    for layer, values in one.items():
        assert torch.equal(values, again[layer])
        assert not torch.equal(values, other[layer]) and not torch.equal(values, trained[layer])
        rows = values.transpose(0, 1).flatten(1)
        assert (rows.amax(1) > rows.amin(1)).float().mean() > 0.7, layer


def test_timm_draws_the_weights_whatever_was_drawn_before_and_batch_norms_fit_images(zoo):
    torch.manual_seed(99)
    copy = open_model("net.untrained-5", zoo).loaded.module
    torch.manual_seed(5)
    drawn = timm_models.create("net", find_entry("net", zoo)).state_dict()
    for key, values in copy.state_dict().items():
        if "running" not in key and "num_batches" not in key:
            assert torch.equal(values, drawn[key]), key
    assert not copy.training and not any(one.training for one in copy.modules())
    seen = {}

    def note(norm, inputs, _):
        seen[norm] = inputs[0].transpose(0, 1).flatten(1).mean(1)

    norms = [one for one in copy.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(note) for norm in norms]
    with torch.no_grad():
        copy(open_model("net", zoo).loaded.preprocessing(textures(IMAGES)))
    for hook in hooks:
        hook.remove()
    assert norms and seen.keys() == set(norms)
    for norm, mean in seen.items():
        # In training it divides by other variances, which are those of few values in deep layers.
        assert ((norm.running_mean - mean).abs() < 0.1 * norm.running_var.sqrt()).all()


def test_it_is_said_how_weights_were_drawn(zoo):
    said = {n: how_drawn(find_entry(f"{n}.untrained-4", zoo)) for n in ("net", "own", "graph")}
    assert said["net"].startswith("drawn by timm") and said["own"] == said["graph"]
    assert said["own"].startswith("shuffled") and all("seed 4" in one for one in said.values())


def outputs(module, kinds, inputs):
    found = {}
    hooks = [
        one.register_forward_hook(lambda m, _, out, n=name: found.setdefault(n, out))
        for name, one in module.named_modules()
        if isinstance(one, kinds)
    ]
    with torch.no_grad():
        module(inputs)
    for hook in hooks:
        hook.remove()
    return found


def test_a_module_keeps_its_weights_in_another_order_up_to_a_scale_a_channel_and_its_moments(zoo):
    trained, copy = (open_model(name, zoo).loaded for name in ("own", "own.untrained-0"))
    inputs = trained.preprocessing(textures(IMAGES))
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    before, after = (outputs(one.module, kinds, inputs) for one in (trained, copy))
    for name, values in before.items():
        a, b = (one.transpose(0, 1).flatten(1).double() for one in (values, after[name]))
        torch.testing.assert_close(a.mean(1), b.mean(1), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(a.std(1), b.std(1), atol=1e-4, rtol=1e-4)
    pool, changed = (one.module[0].weight.detach().double().numpy() for one in (trained, copy))
    for row in changed.reshape(len(changed), -1):
        # Of one scale a channel: then every value is one of the trained weights.
        off = [np.abs(row[:, None] * s - pool.ravel()).min(1).max() for s in pool.ravel() / row[0]]
        assert min(off) < 1e-5


def test_a_graph_keeps_the_mean_and_deviation_of_its_channels(zoo, monkeypatch):
    graphs = []
    use = onnx_models.Model.use
    monkeypatch.setattr(
        onnx_models.Model, "use", lambda self, graph: (graphs.append(graph), use(self, graph))[1]
    )
    model = open_model("graph.untrained-0", zoo).loaded
    inputs = {"x": model.preprocessing(textures(IMAGES)).numpy()}
    trained, copy = graphs
    for output in ("c0", "c1"):
        found = []
        for graph in (trained, copy):
            session = model._session(graph, [output], ["CPUExecutionProvider"], optimised=False)
            found.append(session.run([output], inputs)[0])
        rows = [np.moveaxis(one, 1, 0).reshape(one.shape[1], -1) for one in found]
        np.testing.assert_allclose(rows[0].mean(1), rows[1].mean(1), atol=1e-4)
        np.testing.assert_allclose(rows[0].std(1), rows[1].std(1), atol=1e-4)
        assert not np.allclose(*rows)


def test_a_network_without_weights_has_no_untrained_copy(zoo):
    with pytest.raises(ValueError, match=r"bare.untrained-0: its module has no weights"):
        open_model("bare.untrained-0", zoo)


def test_channels_that_never_vary_take_the_wanted_mean_and_few_values_say_nothing():
    now = np.array([1.0, 2.0]), np.array([0.0, 4.0])
    wanted = np.array([3.0, -1.0]), np.array([5.0, 2.0])
    scale, shift = change_of(now, wanted)
    np.testing.assert_allclose(scale, [0, 0.5])
    np.testing.assert_allclose(scale * now[0] + shift, wanted[0])
    assert moments_of(np.zeros((3, FEWEST - 1))) is None
    assert change_of(None, wanted) is None
