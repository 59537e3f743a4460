"""ONNX files: activations are what they are called, and what cannot be mined is said by name."""

import math
import os
import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.functional import gelu, hardswish, mish, silu

from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.models import onnx_models, timm_models
from rosetta_steps.zoo.models.preprocessing import Preprocessing
from rosetta_steps.zoo.models.torch_models import Model

PLAIN = {"interpolation": "bilinear", "mean": [0, 0, 0], "std": [0.1, 0.1, 0.1]}
SIZE = (8, 8)
NUMBERS = {
    "root": math.sqrt(2),
    "inverse": math.sqrt(0.5),
    "half": 0.5,
    "one": 1,
    "two": 2,
    "three": 3,
    "six": 6,
    "zero": 0,
    "k": 1.702,
    "cubic": 0.044715,
    "pi": math.sqrt(2 / math.pi),
    "largest": np.finfo(np.float32).max,
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def steps(text, **attributes):
    """Nodes from lines such as `g = Mul x half`."""
    nodes = []
    for line in filter(str.strip, text.splitlines()):
        output, _, call = (part.strip() for part in line.partition("="))
        kind, *inputs = call.split()
        inputs = ["" if one == "-" else one for one in inputs]
        given = attributes.get(output, {})
        domain = given.get("domain", "")
        given = {key: value for key, value in given.items() if key != "domain"}
        nodes.append(
            helper.make_node(
                kind, inputs, output.split(), output.split()[0], domain=domain, **given
            )
        )
    return nodes


def saved(folder, nodes, constants=None, shape=("n", 3, *SIZE), opset=17, functions=(), **more):
    """An ONNX file of nodes from the tensor x, and its path."""
    numbers = NUMBERS | (constants or {})
    used = {one for node in nodes for one in node.input}
    values = [
        value if isinstance(value, onnx.TensorProto) else tensor(value, name)
        for name, value in numbers.items()
        if name in used
    ]
    kind = more.get("kind", TensorProto.FLOAT)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, shape)],
        [onnx.ValueInfoProto(name=nodes[-1].output[0])],
        values,
    )
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("pkg", 1)]
    sets.append(helper.make_opsetid("com.microsoft", 1))
    model = helper.make_model(graph, opset_imports=sets, ir_version=8, functions=functions)
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


def tensor(value, name):
    value = np.float32(value) if isinstance(value, int | float) else value
    return numpy_helper.from_array(np.asarray(value), name)


def loaded(path, size=SIZE, **architecture):
    entry = {"architecture": architecture, "preprocessing": PLAIN | {"size": list(size)}}
    return onnx_models.load("net", Entry.from_mapping(entry), path, "cpu")


def inputs(size=SIZE):
    """Images, and as the network sees them: -10 to 10 where a ReLU6 has its limits."""
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    return images, images / 0.1


def kinds(path):
    model = loaded(path)
    return {layer.name: layer.nonlinearity for layer in model.layers()}, model.left_out


# -3 to 7, so that the limits of all count.
CENTRED = "y = Sub x three\n"
GELUS = {
    "x ((1 + erf) 0.5), as torch writes it at opset 18": """
        d = Div y root
        e = Erf d
        p = Add e one
        q = Mul half p
        g = Mul y q""",
    "((1 + erf) 0.5) x": """
        d = Mul inverse y
        e = Erf d
        p = Add one e
        q = Mul p half
        g = Mul q y""",
    "(x (1 + erf)) 0.5": """
        d = Div y root
        e = Erf d
        p = Add e one
        m = Mul p y
        g = Mul m half""",
    "(0.5 x) (1 + erf)": """
        h = Mul half y
        d = Div y root
        e = Erf d
        p = Add e one
        g = Mul h p""",
    "x (0.5 + 0.5 erf)": """
        d = Div y root
        e = Erf d
        f = Mul e half
        p = Add half f
        g = Mul p y""",
    "(x (1 + erf)) / 2": """
        d = Div y root
        e = Erf d
        p = Add e one
        m = Mul p y
        g = Div m two""",
    "with a constant that is computed, cast and passed on": """
        r = Sqrt two
        s = Identity r
        d = Div y s
        e = Erf d
        p = Add e one
        m = Mul p y
        w = Identity half
        g = Mul m w""",
}
TANHS = {
    "x (0.5 (1 + tanh)), of Pow": """
        x3 = Pow y three
        ax = Mul x3 cubic
        i = Add ax y
        j = Mul i pi
        t = Tanh j
        p = Add t one
        q = Mul p half
        g = Mul y q""",
    "(0.5 x) (1 + tanh), of products": """
        x2 = Mul y y
        ax = Mul cubic x2
        i = Add one ax
        xc = Mul y pi
        j = Mul xc i
        t = Tanh j
        p = Add one t
        h = Mul y half
        g = Mul h p""",
}


@pytest.mark.parametrize("order", GELUS)
def test_gelu_is_found_in_any_order_of_its_factors(tmp_path, order):
    path = saved(tmp_path, steps(CENTRED + GELUS[order]))
    assert kinds(path) == ({"g": "Gelu"}, {})
    images, x = inputs()
    found = loaded(path).activations(images, ["g"])["g"]
    torch.testing.assert_close(found, gelu(x - 3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("order", TANHS)
def test_gelu_by_tanh_is_found_in_any_order_of_its_factors(tmp_path, order):
    path = saved(tmp_path, steps(CENTRED + TANHS[order]))
    assert kinds(path) == ({"g": "Gelu"}, {})
    images, x = inputs()
    found = loaded(path).activations(images, ["g"])["g"]
    torch.testing.assert_close(found, gelu(x - 3, approximate="tanh"), atol=1e-5, rtol=1e-5)


def quick_gelu(x):
    return x * (1.702 * x).sigmoid()


HARD = "p = Add y three\nl = Clip p zero six\n"


@pytest.mark.parametrize(
    ("nodes", "kind", "expected"),
    [
        ("s = Sigmoid y\ng = Mul s y", "Swish", silu),
        ("n = Neg y\ne = Exp n\np = Add e one\ng = Div y p", "Swish", silu),
        ("d = Mul k y\ns = Sigmoid d\ng = Mul y s", "QuickGelu", quick_gelu),
        ("d = Mul two y\ns = Sigmoid d\ng = Mul y s", "Swish", lambda x: x * (2 * x).sigmoid()),
        (HARD + "m = Mul l y\ng = Div m six", "HardSwish", hardswish),
        (HARD + "m = Div l six\ng = Mul y m", "HardSwish", hardswish),
        ("s = Softplus y\nt = Tanh s\ng = Mul y t", "Mish", mish),
        ("s = Softplus y\nt = Tanh s\ng = Mul t y", "Mish", mish),
        ("e = Exp y\np = Add e one\nl = Log p\nt = Tanh l\ng = Mul t y", "Mish", mish),
        ("g = Max y zero", "Relu", torch.relu),
        ("g = Max zero y", "Relu", torch.relu),
        ("g = Clip y zero", "Relu", torch.relu),
        ("g = Clip y zero largest", "Relu", torch.relu),
        ("c = Greater y zero\ng = Where c y zero", "Relu", torch.relu),
        ("g = Clip y zero six", "Relu6", nn.functional.relu6),
        ("r = Relu y\ng = Min r six", "Relu6", nn.functional.relu6),
        ("r = Max y zero\ng = Min six r", "Relu6", nn.functional.relu6),
        ("h = Mul half y\ng = Max y h", "LeakyRelu", lambda x: torch.maximum(x, x / 2)),
        ("r = Relu y\ng = Mul r r", "SquaredRelu", lambda x: x.relu() ** 2),
        ("r = Relu y\ns = Mul r r\nm = Mul s half\ng = Add m one", "StarRelu",
         lambda x: x.relu() ** 2 / 2 + 1),
    ],
)  # fmt: skip
def test_what_several_nodes_compute_is_one_layer_of_its_true_name(tmp_path, nodes, kind, expected):
    path = saved(tmp_path, steps(CENTRED + nodes))
    assert kinds(path) == ({"g": kind}, {})
    images, x = inputs()
    found = loaded(path).activations(images, ["g"])["g"]
    torch.testing.assert_close(found, expected(x - 3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "limits",
    [
        [("low", {"value_float": 0.0}), ("high", {"value_float": 6.0})],
        [("low", {"value_floats": [0.0]}), ("high", {"value_floats": [6.0]})],
        [("low", {"value_int": 0}), ("high", {"value_int": 6})],
        [("low", {"value": tensor(0, "")}), ("high", {"value": tensor(6, "")})],
    ],
)
def test_a_constant_counts_in_whatever_form_it_is_written(tmp_path, limits):
    nodes = [helper.make_node("Constant", [], [name + "-raw"], **value) for name, value in limits]
    for name, _ in limits:
        nodes.append(helper.make_node("Cast", [name + "-raw"], [name + "-cast"], to=1))
        nodes.append(helper.make_node("Squeeze", [name + "-cast"], [name + "-one"]))
        nodes.append(helper.make_node("Identity", [name + "-one"], [name]))
    path = saved(tmp_path, nodes + steps("g = Clip x low high"))
    assert kinds(path) == ({"g": "Relu6"}, {})


def test_what_looks_like_an_activation_and_is_none_is_left_out_by_name(tmp_path, capsys):
    nodes = """
        h = HardSigmoid x
        gate = Mul x h
        s = Softplus gate
        s2 = Mul s two
        t = Tanh s2
        almost = Mul t gate
        cut = Clip almost zero one
        r = Relu cut"""
    found, left_out = kinds(saved(tmp_path, steps(nodes)))
    assert found == {"r": "Relu"}
    assert {name: kind for name, (kind, _) in left_out.items()} == {
        "gate": "Mul",
        "s": "Softplus",
        "almost": "Mul",
        "cut": "Clip",
    }
    assert "combines x with a function of it (HardSigmoid Mul)" in left_out["gate"][1]
    assert "is a part of almost" in left_out["s"][1]
    assert "cuts almost off at 0 and 1" in left_out["cut"][1]
    assert "net: left out of the layers of" in capsys.readouterr().err


def test_a_layer_whose_values_are_not_those_of_its_function_is_left_out(tmp_path):
    nodes = """
        d = Div x root
        e = Erf d
        q = QuantizeLinear e scale point
        f = DequantizeLinear q scale point
        p = Add f one
        m = Mul x p
        g = Mul m half
        r = Relu g"""
    constants = {"scale": 0.1, "point": np.int8(0)}
    path = saved(tmp_path, steps(nodes), constants)
    found, left_out = kinds(path)
    assert found == {"r": "Relu"}
    assert "looks like Gelu of x, but on an image it is up to" in left_out["g"][1]
    with pytest.raises(
        ValueError, match="pattern 'g' matches no activation map: g looks like Gelu"
    ):
        loaded(path).layers(["g"])


def test_a_normalisation_written_out_is_no_activation(tmp_path):
    nodes = """
        m = ReduceMean x
        d = Sub x m
        s = Pow d two
        v = ReduceMean s
        w = Add v tiny
        q = Sqrt w
        n = Div d q
        u = Mul n one
        b = Add u zero
        r = Relu b"""
    path = saved(tmp_path, steps(nodes), {"tiny": 1e-6})
    assert kinds(path) == ({"r": "Relu"}, {})


def test_limits_of_shapes_are_no_activations(tmp_path):
    nodes = """
        s = Shape x
        m = Max s nothing
        c = Max m many
        f = Reshape x c
        r = Relu f"""
    constants = {"nothing": np.int64(0), "many": np.int64(1)}
    path = saved(tmp_path, steps(nodes), constants)
    assert kinds(path) == ({"r": "Relu"}, {})


def test_a_softplus_that_something_else_takes_too_is_a_layer(tmp_path):
    nodes = "s = Softplus x\nt = Tanh s\ng = Mul x t\nu = Add g s"
    assert kinds(saved(tmp_path, steps(nodes)))[0] == {"s": "Softplus", "g": "Mish"}


def test_activations_inside_functions_of_the_file_are_layers(tmp_path):
    sets = [helper.make_opsetid("", 17)]
    body = steps("e = Erf i\np = Add e i\no = Relu p")
    block = helper.make_function("pkg", "Block", ["i"], ["o"], body, sets)
    nodes = steps("b = Block x\nc = Block b", b={"domain": "pkg"}, c={"domain": "pkg"})
    model = loaded(saved(tmp_path, nodes, functions=[block]))
    layers = model.layers()
    assert [layer.nonlinearity for layer in layers] == ["Relu", "Relu"]
    images, x = inputs()
    found = model.activations(images, [layer.name for layer in layers])
    first = (x.erf() + x).relu()
    expected = [first, (first.erf() + first).relu()]
    for maps, wanted in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(maps, wanted)


def test_functions_without_end_or_measure_are_refused(tmp_path):
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("pkg", 1)]

    def function(name, text):
        nodes = steps(text)
        for node in nodes:
            node.domain = "" if node.op_type == "Relu" else "pkg"
        return helper.make_function("pkg", name, ["i"], ["o"], nodes, sets)

    itself = [function("Block", "o = Block i")]
    with pytest.raises(ValueError, match="functions of .* cannot be written out .Cycle"):
        loaded(saved(tmp_path, steps("b = Block x", b={"domain": "pkg"}), functions=itself))
    bomb = [function("F0", "o = Relu i")]
    bomb += [function(f"F{i}", f"a = F{i - 1} i\no = F{i - 1} a") for i in range(1, 30)]
    with pytest.raises(ValueError, match="stand for 536870912 nodes"):
        loaded(saved(tmp_path, steps("b = F29 x", b={"domain": "pkg"}), functions=bomb))


def branch(name):
    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    node = helper.make_node("Relu", ["x"], [name], f"relu_{name}")
    return helper.make_graph([node], name, [], [value])


def test_a_relu_in_a_branch_is_named(tmp_path):
    def either(name):
        branches = {"then_branch": branch("yes"), "else_branch": branch("no")}
        return helper.make_node("If", ["condition"], [name], name, **branches)

    constants = {"condition": np.array(True)}
    with pytest.raises(
        ValueError, match=r"if.relu_yes \(Relu\) lies inside if .a node If."
    ) as said:
        loaded(saved(tmp_path, [either("if")], constants))
    assert "fusing" not in str(said.value)
    path = saved(tmp_path, [either("if"), *steps("r = Relu if")], constants)
    found, left_out = kinds(path)
    assert found == {"r": "Relu"}
    assert set(left_out) == {"if.relu_yes", "if.relu_no"}


def test_an_activation_fused_into_a_convolution_is_named(tmp_path):
    nodes = steps("f = FusedConv x w", f={"domain": "com.microsoft", "activation": "Relu"})
    weight = np.ones((4, 3, 1, 1), np.float32)
    with pytest.raises(
        ValueError, match=r"f \(FusedConv\) has its activation Relu.*without fusing"
    ):
        loaded(saved(tmp_path, nodes, {"w": weight}))


def test_without_activations_nobody_is_told_of_fusing(tmp_path):
    with pytest.raises(ValueError, match="has no activation nodes .* It has Add, Neg") as said:
        loaded(saved(tmp_path, steps("n = Neg x\na = Add n n")))
    assert "fusing" not in str(said.value)


def test_a_file_in_training_mode_is_refused_with_its_nodes(tmp_path):
    statistics = {name: np.ones(3, np.float32) for name in "smv"}
    normalised = steps(
        "b sm sv = BatchNormalization x s s m v\nr = Relu b", **{"b sm sv": {"training_mode": 1}}
    )
    with pytest.raises(ValueError, match=r"b \(BatchNormalization\) is in training mode.*eval"):
        loaded(saved(tmp_path, normalised, statistics))
    old = steps("b p q u w = BatchNormalization x s s m v\nr = Relu b")
    with pytest.raises(ValueError, match=r"b \(BatchNormalization\) is in training mode"):
        loaded(saved(tmp_path, old, statistics, opset=9))
    dropped = {"ratio": 0.5, "training": np.array(True)}
    with pytest.raises(ValueError, match=r"d \(Dropout\) is in training mode: it drops"):
        loaded(saved(tmp_path, steps("d = Dropout x ratio training\nr = Relu d"), dropped))
    with pytest.raises(ValueError, match=r"n \(RandomNormalLike\) draws random numbers"):
        loaded(saved(tmp_path, steps("n = RandomNormalLike x\na = Add x n\nr = Relu a")))


def test_dropout_and_normalisation_for_inference_are_served(tmp_path):
    constants = {"ratio": 0.5, "training": np.array(False)}
    constants |= {name: np.ones(3, np.float32) for name in "smv"}
    nodes = "b = BatchNormalization x s s m v\nd = Dropout b ratio training\nr = Relu d"
    assert kinds(saved(tmp_path, steps(nodes), constants)) == ({"r": "Relu"}, {})
    after = "r = Relu x\nn = RandomNormalLike r\na = Add r n"
    assert kinds(saved(tmp_path, steps(after))) == ({"r": "Relu"}, {})


def test_what_follows_from_dynamic_quantisation_is_left_out(tmp_path):
    nodes = "r = Relu x\nq s z = DynamicQuantizeLinear r\nd = DequantizeLinear q s z\nu = Relu d"
    found, left_out = kinds(saved(tmp_path, steps(nodes)))
    assert found == {"r": "Relu"}
    assert "dynamic quantisation by q (DynamicQuantizeLinear)" in left_out["u"][1]
    first = "q s z = DynamicQuantizeLinear x\nd = DequantizeLinear q s z\nu = Relu d"
    with pytest.raises(ValueError, match="follows from dynamic quantisation.*before it was quant"):
        loaded(saved(tmp_path, steps(first)))


@pytest.mark.parametrize("count", ["", "often"])
def test_a_loop_without_end_is_stopped_and_named(tmp_path, monkeypatch, count):
    monkeypatch.setattr(onnx_models, "SECONDS_IN_LOOPS", 0.5)
    values = [
        helper.make_tensor_value_info(*one)
        for one in (("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []))
    ]
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, None)
    results = [
        helper.make_tensor_value_info("on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
    ]
    body = helper.make_graph(steps("on = Identity go\nw = Neg v"), "b", [*values, value], results)
    loop = helper.make_node("Loop", [count, "true", "x"], ["l"], "loop", body=body)
    constants = {"true": np.array(True), "often": np.array(2**62)}
    path = saved(tmp_path, [loop, *steps("r = Relu l")], constants)
    with pytest.raises(
        ValueError, match=r"stopped after 1.0 seconds.*its loop .loop. does not end"
    ):
        loaded(path).layers()


@pytest.mark.parametrize(
    ("nodes", "more", "said"),
    [
        ("f = Foo x\nr = Relu f", {}, "ONNX Runtime .* cannot load .*net.onnx: .*Foo"),
        ("r = Relu nowhere", {}, "cannot load .*'nowhere'"),
        ("a = Add x r\nr = Relu a", {}, "cannot load .*not acyclic"),
        ("r = Relu x", {"opset": 99}, "cannot load .*[Oo]pset 99"),
        ("a = Add x i\nr = Relu a", {"constants": {"i": np.int64(1)}}, "cannot load .*int64"),
        ("r = Relu x", {"shape": None}, r"takes x tensor\(float\) \[\], expected one batch"),
        ("r = Relu x", {"kind": TensorProto.STRING}, "cannot load .*string"),
        ("c = Cast x\nr = Relu c", {"kind": TensorProto.UINT8}, r"takes x tensor\(uint8\).*Export"),
        ("r = Relu x", {"shape": ("n", 4, *SIZE)}, "cannot be run on images"),
    ],
)
def test_what_onnx_runtime_refuses_is_one_line_with_the_file(tmp_path, nodes, more, said):
    path = saved(tmp_path, steps(nodes, c={"to": 1}), **more)
    with pytest.raises(ValueError, match=said) as error:
        loaded(path).layers()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert "onnxruntime_src" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"<html>no</html>", b"PK\3\4" + bytes(64), bytes(64)])
def test_what_is_no_onnx_file_is_called_so(tmp_path, content):
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"net: .*net.onnx is not an ONNX file"):
        loaded(tmp_path / "net.onnx")


def test_half_and_double_precision_are_served(tmp_path):
    for kind in (TensorProto.FLOAT16, TensorProto.DOUBLE):
        model = loaded(saved(tmp_path, steps("r = Relu x"), kind=kind))
        images, x = inputs()
        found = model.activations(images, ["r"])["r"]
        torch.testing.assert_close(found.float(), x.relu(), atol=1e-2, rtol=1e-3)


def exported(module, size, path, **more):
    module = module.to(memory_format=torch.contiguous_format)
    images = torch.rand(2, 3, *size)
    if more.pop("dynamo"):
        pytest.importorskip("onnxscript", reason="which torch's present exporter needs")
        more |= {"dynamo": True, "dynamic_shapes": ({0: torch.export.Dim("n")},)}
    else:
        more |= {"dynamo": False, "dynamic_axes": {"x": {0: "n"}}, "input_names": ["x"]}
    torch.onnx.export(module, (images,), str(path), **more)
    return path


# The older exporter knows no attention before opset 14.
EXPORTERS = [(True, 13), (True, 18), (True, 20), (False, 14), (False, 18), (False, 20)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dynamo", "opset"), EXPORTERS)
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_an_exported_network_gives_the_units_that_timm_gives(tmp_path, name, dynamo, opset):
    torch.manual_seed(0)
    size = (32, 48) if name.startswith("vit") else (32, 32)
    arguments = {"img_size": size, "depth": 2} if name.startswith("vit") else {}
    module = timm.create_model(name, **arguments).eval()
    path = exported(module, size, tmp_path / "net.onnx", dynamo=dynamo, opset_version=opset)
    grid = {"grid": [2, 3], "prefix_tokens": 1} if name.startswith("vit") else {}
    found = loaded(path, size, **grid)
    preprocessing = Preprocessing(size, "bilinear", (0, 0, 0), (0.1, 0.1, 0.1))
    tokens = timm_models.tokens_of(module, size)
    own = Model("net", module, preprocessing, "cpu", tokens=tokens)
    names = [[layer.name for layer in model.layers()] for model in (found, own)]
    assert len(names[0]) == len(names[1]) > 1
    images = inputs(size)[0]
    maps = [model.activations(images, of) for model, of in zip((found, own), names, strict=True)]
    for one, other in zip(*(list(each.values()) for each in maps), strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * scale)


def test_data_in_a_second_file_is_read_and_named_where_it_is_missing(tmp_path):
    weight = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    path = saved(tmp_path, steps("c = Conv x w\nr = Relu c"), {"w": weight})
    alone = loaded(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    images = inputs()[0]
    maps = [model.activations(images, ["r"])["r"] for model in (alone, loaded(path))]
    assert torch.equal(*maps)
    (tmp_path / "w.bin").rename(tmp_path / "away.bin")
    with pytest.raises(
        ValueError, match=r"keeps a part of the model in w.bin, and there is no file"
    ):
        loaded(path)
    os.mkfifo(tmp_path / "w.bin")
    with pytest.raises(ValueError, match=r"w.bin is no regular file"):
        loaded(path)
    (tmp_path / "w.bin").unlink()
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(ValueError, match="net.onnx"):
        loaded(path)


def test_loading_leaves_no_thread_and_says_nothing(tmp_path):
    path = saved(tmp_path, steps("r = Relu x"))
    code = (
        "import pathlib, threading; from rosetta_steps.zoo.models import onnx_models\n"
        "from rosetta_steps.zoo.entry import Entry\n"
        f"entry = Entry.from_mapping({{'preprocessing': {PLAIN | {'size': list(SIZE)}!r}}})\n"
        f"onnx_models.load('net', entry, pathlib.Path({str(path)!r}), 'cpu').layers()\n"
        "print(threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert threading.active_count() >= 1
