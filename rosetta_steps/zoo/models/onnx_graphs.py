"""The activations of an ONNX graph, whether exporters write them as one node or as several.

An exporter writes GELU as five nodes or more, in any order of its factors. So none is known by a
pattern of nodes: what nodes that work value by value make of a tensor is computed on numbers from
-12 to 12 and compared with known functions. What the graph then really gives is held against the
function again, on an image (onnx_models).
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)
from torch import from_numpy

# One node is one of them.
NONLINEARITIES = (
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Celu",
    "Selu",
    "Gelu",
    "Mish",
    "Softplus",
    "Swish",
    "HardSwish",
    "FastGelu",
    "BiasGelu",
    "QuickGelu",
)
DOMAINS = ("", "ai.onnx", "com.microsoft")
GRID = np.linspace(-12, 12, 241)
# GELU by erf and by tanh differ by 5e-4, GELU and QuickGELU by 2e-2.
TOLERANCE = 1e-3
LINEAR = 0.05  # x + 0.00001, as in a normalisation, is no LeakyReLU of slope 1
MOST_NODES = 24  # of one activation; Mish by logarithms and comparisons has 9
MOST_VALUES = 1 << 16  # of a constant that may be one number, repeated

# Value by value and the same to within rounding; no activation ends in one of them.
PASSING = ("Identity", "Cast", "CastLike", "Dropout", "QuantizeLinear", "DequantizeLinear")
SHAPING = ("Unsqueeze", "Squeeze", "Reshape", "Expand", "Flatten", "Tile")
GATES = ("Sigmoid", "HardSigmoid", "Tanh", "Erf", "Softplus", "Exp", "Clip", "Relu")
LIMITS = ("Clip", "Max", "Min")
# Nodes that may have an activation within, which then is no tensor of its own.
FUSED = (
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "QLinearLeakyRelu",
    "QLinearSigmoid",
    "FusedConv",
    "NhwcFusedConv",
    "FusedGemm",
    "FusedMatMulActivation",
)
RANDOM = (
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)
DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")


def erf(x):
    """The error function; that of SciPy would take longer to import than a file to load."""
    return from_numpy(np.atleast_1d(np.asarray(x, np.float64))).erf().numpy().reshape(np.shape(x))


def expit(x):
    """The logistic function."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(x)))


def _hard_sigmoid(x, alpha=0.2, beta=0.5):
    return np.clip(alpha * x + beta, 0, 1)


def _gelu(x, approximate=b"none"):
    if approximate == b"tanh":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def _softplus(x):
    return np.logaddexp(0, x)


def _elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _selu(x, alpha=1.6732632423543772, gamma=1.0507009873554805):
    return gamma * _elu(x, alpha)


def _leaky_relu(x, alpha=0.01):
    return np.where(x > 0, x, alpha * x)


def _swish(x, alpha=1.0):
    return x * expit(alpha * x)


def _relu(x):
    return np.maximum(x, 0)


# Of the attributes of a node only those are passed on that its function names.
VALUE_BY_VALUE: dict[str, Callable] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Max": lambda *x: _all_of(np.maximum, x),
    "Min": lambda *x: _all_of(np.minimum, x),
    "Sum": lambda *x: _all_of(np.add, x),
    "Where": np.where,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Equal": np.equal,
    "Not": np.logical_not,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Exp": np.exp,
    "Log": np.log,
    "Reciprocal": np.reciprocal,
    "Erf": erf,
    "Tanh": np.tanh,
    "Sigmoid": expit,
    "HardSigmoid": _hard_sigmoid,
    "Softplus": _softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "ThresholdedRelu": lambda x, alpha=1.0: np.where(x > alpha, x, 0),
    "Relu": _relu,
    "LeakyRelu": _leaky_relu,
    "PRelu": lambda x, slope: np.where(x > 0, x, slope * x),
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "Gelu": _gelu,
    "Mish": lambda x: x * np.tanh(_softplus(x)),
    "Swish": _swish,
    "HardSwish": lambda x: x * _hard_sigmoid(x, 1 / 6),
    "QuickGelu": lambda x, alpha=1.702: _swish(x, alpha),
}
KNOWN: tuple[tuple[str, Callable], ...] = (
    ("Relu", _relu),
    ("Relu6", lambda x: np.clip(x, 0, 6)),
    ("Gelu", _gelu),
    ("Gelu", lambda x: _gelu(x, b"tanh")),
    ("Swish", _swish),
    ("QuickGelu", lambda x: _swish(x, 1.702)),
    ("Mish", VALUE_BY_VALUE["Mish"]),
    ("HardSwish", VALUE_BY_VALUE["HardSwish"]),
    ("HardMish", lambda x: 0.5 * x * np.clip(x + 2, 0, 2)),
    ("Selu", _selu),
    ("Softplus", _softplus),
    ("SquaredRelu", lambda x: _relu(x) ** 2),
)
ON_GRID = [(kind, function, function(GRID)) for kind, function in KNOWN]
INTEGERS = (
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.UINT16,
    TensorProto.UINT32,
    TensorProto.UINT64,
)
# Where exporters write the limits of a Clip.
CLIP_INPUTS = ("min", "max")


class Activation(NamedTuple):
    """A nonlinearity in a graph.

    Attributes:
        tensor: Its output.
        kind: Its name.
        source: Its input, where it is a function that several nodes compute; else None.
        function: It, of numpy arrays; None for a node that is by its name what it is.
    """

    tensor: str
    kind: str
    source: str | None = None
    function: Callable | None = None


@dataclass
class Found:
    """What a graph has.

    Attributes:
        layers: By the name of a layer, in the order of the graph.
        left_out: By the name of a node, its kind and a phrase that says why it gives no layer.
        refused: Phrases that say why no layer of the file can be used; empty where they can.
    """

    layers: dict[str, Activation] = field(default_factory=dict)
    left_out: dict[str, tuple[str, str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def activations_in(graph: GraphProto, opset: int = 17) -> Found:
    """The activations of a graph, and what in it looks like one and is none.

    A node's name has slashes, a layer's has none. An activation inside another (the Softplus of
    Mish) is no layer of its own, unless something else takes its output too.

    Args:
        graph: With its functions inlined.
        opset: Of the domain of ONNX.
    """
    return _Reading(graph, opset).found()


def opset_of(model: ModelProto) -> int:
    """The version of ONNX's own operators that a model uses."""
    own = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
    return max(own, default=1)


def subgraphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """The branches of an If, the body of a Loop or Scan."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes of a graph, those of its subgraphs too."""
    for node in graph.node:
        yield node
        for inner in subgraphs_of(node):
            yield from nodes_of(inner)


def name_of(node: NodeProto) -> str:
    """A node's name as that of a layer: its own, else that of its output."""
    output = node.output[0] if node.output else node.op_type
    return (node.name or output).strip("/").replace("/", ".") or output


class _Reading:
    """One pass over a graph."""

    def __init__(self, graph: GraphProto, opset: int):
        self.graph, self.opset = graph, opset
        self.nodes = list(graph.node)
        self.integers: set[str] = set()  # constants of an integer type
        self.scalars = self._constants()
        self.users: dict[str, list[int]] = {}
        for position, node in enumerate(self.nodes):
            for tensor in _taken_by(node):
                self.users.setdefault(tensor, []).append(position)
        self.makers = {t: position for position, n in enumerate(self.nodes) for t in n.output if t}
        self.outputs = {one.name for one in graph.output}
        # By the position of the node that ends it: how many nodes it has, which, what.
        self.groups: dict[int, tuple[frozenset[int], Activation]] = {}
        self.gates: dict[int, str] = {}  # positions of what looks like one, and why it is none

    def found(self) -> Found:
        found = Found()
        for tensor in self._entries():
            self._follow(tensor)
        inner = self._inner()
        within = set().union(*(nodes for nodes, _ in self.groups.values()))
        tainted = self._tainted(found)
        calls: dict[str, int] = {}
        for position, node in enumerate(self.nodes):
            for graph in subgraphs_of(node):
                self._leave_out_inside(node, graph, found)
            if not node.output:
                continue
            activation, reason = self._at(position, node, inner, within)
            if activation is None and reason is None:
                continue
            name = name_of(node)
            if activation is not None:
                call = calls[name] = calls.get(name, -1) + 1
                name = f"{name}#{call}" if call else name
                reason = tainted.get(activation.tensor)
            if reason is None:
                assert activation is not None, "else there is a reason"
                found.layers[name] = activation
            else:
                found.left_out[name] = (node.op_type, reason)
        return found

    def _at(
        self, position: int, node: NodeProto, inner: set[int], within: set[int]
    ) -> tuple[Activation | None, str | None]:
        """The activation that ends at a node, or why what looks like one is none, or neither."""
        if position in inner:
            return None, None
        activation = None
        if node.op_type in NONLINEARITIES and node.domain in DOMAINS:
            activation = Activation(node.output[0], node.op_type)
        elif position in self.groups:
            activation = self.groups[position][1]
        if activation is not None:
            entry = activation.source or next(iter(node.input), "")
            gate = self._gate(entry, activation.tensor)
            return (None, gate) if gate else (activation, None)
        if node.op_type in FUSED:
            return None, self._fused(node)
        if position in self.gates and position not in within:
            return None, self.gates[position]
        return None, None

    def _fused(self, node: NodeProto) -> str | None:
        kinds = [one.s.decode("utf-8", "replace") for one in node.attribute if "activ" in one.name]
        if node.op_type.startswith("Q"):
            return "is quantised, and an activation fused into it is no tensor of its own"
        return f"has its activation {kinds[0]} fused into it" if any(kinds) else None

    def _entries(self) -> list[str]:
        # Tensors that nodes work on value by value, in the order of the graph.
        made = [one.name for one in self.graph.input]
        made += [tensor for node in self.nodes for tensor in node.output]
        return [
            tensor
            for tensor in dict.fromkeys(made)
            if tensor not in self.scalars
            and any(self._value_by_value(one) for one in self.users.get(tensor, []))
        ]

    def _value_by_value(self, position: int) -> bool:
        kind = self.nodes[position].op_type
        return kind in VALUE_BY_VALUE or kind == "Clip"

    def _follow(self, entry: str) -> None:
        """Note the activations of a tensor: what nodes that work value by value make of it."""
        values, makers = {entry: GRID}, {}
        waiting = list(self.users.get(entry, []))
        heapq.heapify(waiting)
        seen: set[int] = set()
        while waiting and len(seen) < MOST_NODES:
            position = heapq.heappop(waiting)
            node = self.nodes[position]
            if position in seen:
                continue
            value = self._value(node, values)
            if value is None or np.ndim(value) == 0:
                continue
            if node.op_type in LIMITS and self.integers & set(node.input):
                continue  # it computes shapes
            seen.add(position)
            output = node.output[0]
            values[output], makers[output] = value, position
            for user in self.users.get(output, []):
                heapq.heappush(waiting, user)
            if node.op_type in PASSING or node.op_type in NONLINEARITIES:
                continue
            nodes = _ancestors(output, makers, self.nodes)
            if known := _known(value):
                activation = Activation(output, known[0], entry, known[1])
                # Of several inputs that fit, the nearest.
                if position not in self.groups or len(nodes) < len(self.groups[position][0]):
                    self.groups[position] = frozenset(nodes), activation
            elif reason := self._looks_like_one(node, entry, nodes):
                self.gates.setdefault(position, reason)

    def _looks_like_one(self, node: NodeProto, entry: str, nodes: set[int]) -> str | None:
        inside = [self.nodes[one].op_type for one in sorted(nodes)]
        if node.op_type in ("Mul", "Div") and entry in node.input and set(inside) & set(GATES):
            return (
                f"combines {entry} with a function of it ({' '.join(inside)}), which together are "
                "no activation known here"
            )
        if node.op_type in LIMITS and len(nodes) == 1:
            low, high = (_text(one) for one in self._limits_of(node))
            return f"cuts {entry} off at {low} and {high}, so it is neither ReLU nor ReLU6"
        return None

    def _limits_of(self, node: NodeProto) -> tuple[float | None, float | None]:
        numbers = [self.scalars[one] for one in node.input if one in self.scalars]
        if node.op_type == "Clip":
            limits = self._clip(node)
            assert limits is not None, "its values are known"
            return limits.get("min"), limits.get("max")
        one = float(numbers[0]) if numbers else None
        return (one, None) if node.op_type == "Max" else (None, one)

    def _gate(self, entry: str, tensor: str) -> str | None:
        """Why an activation is no layer where its only use is to be multiplied with its input."""
        roots = self._roots(entry)
        for _ in range(MOST_NODES):
            users = self.users.get(tensor, [])
            if len(users) != 1 or tensor in self.outputs:
                return None
            user = self.nodes[users[0]]
            if user.op_type in ("Mul", "Div") and roots & set(user.input):
                return f"is a part of {name_of(user)}, which is no activation known here"
            if not self._of_one_tensor(user, tensor):
                return None
            tensor = user.output[0]
        return None

    def _roots(self, tensor: str) -> set[str]:
        """A tensor and those it was made of value by value, one after the other."""
        roots = {tensor}
        while (position := self.makers.get(tensor)) is not None and len(roots) < MOST_NODES:
            node = self.nodes[position]
            free = [one for one in node.input if one and one not in self.scalars]
            if len(free) != 1 or free[0] in roots or not self._of_one_tensor(node, free[0]):
                break
            tensor = free[0]
            roots.add(tensor)
        return roots

    def _of_one_tensor(self, node: NodeProto, tensor: str) -> bool:
        """Whether a node works on the values of a tensor, with numbers alone beside it."""
        if not node.output or node.op_type in PASSING:
            return bool(node.output)
        if node.op_type not in VALUE_BY_VALUE and node.op_type != "Clip":
            return False
        return all(one in self.scalars for one in node.input if one and one != tensor)

    def _inner(self) -> set[int]:
        """Positions of what is used inside another activation alone."""
        inner: set[int] = set()
        for end, (nodes, activation) in self.groups.items():
            for position in nodes - {end}:
                tensor = self.nodes[position].output[0]
                alone = all(user in nodes for user in self.users.get(tensor, []))
                if alone and tensor not in self.outputs:
                    inner.add(position)
                # The same function again, as after a product with one: the first is the layer.
                first = self.groups.get(position)
                if first and _same(first[1], activation):
                    inner.discard(position)
                    inner.add(end)
        return inner

    def _value(self, node: NodeProto, values: Mapping[str, Any]):
        """What a node makes of values, where it works value by value; else None."""
        if node.domain not in DOMAINS or not node.output or not node.input:
            return None
        if node.op_type in PASSING:
            if node.op_type == "Cast" and _integers(node):
                return None
            return values.get(node.input[0])
        if node.op_type == "Clip":
            limits = self._clip(node)
            if limits is None or node.input[0] not in values:
                return None
            low, high = limits.get("min", -np.inf), limits.get("max", np.inf)
            return np.minimum(np.maximum(values[node.input[0]], low), high)
        function = VALUE_BY_VALUE.get(node.op_type)
        given = [values.get(one, self.scalars.get(one)) for one in node.input if one]
        if function is None or any(one is None for one in given):
            return None
        return _computed(function, node, given)

    def _clip(self, node: NodeProto) -> dict[str, float] | None:
        """Limits of a Clip: attributes before opset 11, inputs since. None: not constant."""
        limits = {one.name: one.f for one in node.attribute if one.name in CLIP_INPUTS}
        for name, tensor in zip(CLIP_INPUTS, list(node.input)[1:], strict=False):
            if tensor and tensor not in self.scalars:
                return None
            if tensor:
                limits[name] = float(self.scalars[tensor])
        return limits

    def _constants(self) -> dict[str, float]:
        """Tensors that are one number, whatever their shape and however it is written."""
        numbers: dict[str, float] = {}

        def note(tensor: str, value) -> None:
            if value is not None:
                numbers[tensor] = value

        for one in self.graph.initializer:
            note(one.name, _number(one))
            if one.data_type in INTEGERS:
                self.integers.add(one.name)
        self.scalars = numbers
        for node in self.nodes:
            if not node.output:
                continue
            if node.op_type == "Constant":
                note(node.output[0], _constant(node))
                if any(one.t.data_type in INTEGERS or "_int" in one.name for one in node.attribute):
                    self.integers.add(node.output[0])
            elif node.op_type == "ConstantOfShape":
                values = [one.t for one in node.attribute if one.name == "value"]
                note(node.output[0], _number(values[0]) if values else 0.0)
            elif node.op_type == "DequantizeLinear":
                if len(node.input) > 1 and _all_in(node.input, numbers):
                    value, scale, *zero = (numbers[one] for one in node.input if one)
                    note(node.output[0], (value - (zero[0] if zero else 0)) * scale)
            elif node.op_type in SHAPING and node.input:
                note(node.output[0], numbers.get(node.input[0]))
            elif node.op_type in PASSING and node.input and node.input[0] in numbers:
                note(node.output[0], numbers[node.input[0]])
            elif node.input and _all_in(node.input, numbers):
                note(node.output[0], self._value(node, numbers))
        return numbers

    def _leave_out_inside(self, holder: NodeProto, graph: GraphProto, found: Found) -> None:
        for inner in nodes_of(graph):
            if inner.op_type in NONLINEARITIES and inner.domain in DOMAINS:
                found.left_out[f"{name_of(holder)}.{name_of(inner)}"] = (
                    inner.op_type,
                    f"lies inside {name_of(holder)} (a node {holder.op_type}), of which only the "
                    "end result can be had",
                )

    def _tainted(self, found: Found) -> dict[str, str]:
        """Why tensors are no maps of an image alone; what spoils every layer is `refused`."""
        tainted: dict[str, str] = {}
        for position, node in enumerate(self.nodes):
            inherited = [tainted[one] for one in _taken_by(node) if one in tainted]
            reason = inherited[0] if inherited else self._spoils(node)
            if reason is None:
                continue
            for tensor in node.output:
                tainted[tensor] = reason
            unit = node.op_type in NONLINEARITIES or position in self.groups
            if unit and not reason.startswith(DYNAMIC_REASON) and reason not in found.refused:
                found.refused.append(reason)
        return tainted

    def _spoils(self, holder: NodeProto) -> str | None:
        for node in [holder, *(one for graph in subgraphs_of(holder) for one in nodes_of(graph))]:
            who = f"{name_of(node)} ({node.op_type})"
            if node.op_type in DYNAMIC:
                return (
                    f"{DYNAMIC_REASON} {who}, whose scale follows from all images that go in "
                    "together"
                )
            if node.op_type in RANDOM:
                return f"{who} draws random numbers at every run"
            if node.op_type == "BatchNormalization" and self._trains(node):
                return (
                    f"{who} is in training mode: it normalises by the images that go in together, "
                    "and not by stored statistics"
                )
            if node.op_type == "Dropout" and self._drops(node):
                return f"{who} is in training mode: it drops values at random"
        return None

    def _trains(self, node: NodeProto) -> bool:
        given = {one.name: one.i for one in node.attribute}
        if self.opset >= 14:
            return bool(given.get("training_mode"))
        if self.opset < 7 and not given.get("is_test"):
            return True
        return sum(map(bool, node.output)) > 1  # the statistics of the batch

    def _drops(self, node: NodeProto) -> bool:
        if self.opset < 7:
            return not any(one.name == "is_test" and one.i for one in node.attribute)
        if self.opset < 12:
            return False
        ratio, mode = [*list(node.input)[1:], "", ""][:2]
        return bool(mode) and self.scalars.get(mode) != 0 and self.scalars.get(ratio) != 0


DYNAMIC_REASON = "follows from dynamic quantisation by"


def _all_of(function: Callable, values: tuple):
    found = values[0]
    for one in values[1:]:
        found = function(found, one)
    return found


def _all_in(tensors, numbers: dict) -> bool:
    return all(one in numbers for one in tensors if one)


def _taken_by(node: NodeProto) -> Iterator[str]:
    # Subgraphs take tensors of the graph around them by name.
    yield from (one for one in node.input if one)
    for graph in subgraphs_of(node):
        for inner in graph.node:
            yield from _taken_by(inner)
        yield from (one.name for one in graph.output)


def _computed(function: Callable, node: NodeProto, given: list):
    names = getattr(getattr(function, "__code__", None), "co_varnames", ())
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    known = {key: value for key, value in attributes.items() if key in names}
    try:
        with np.errstate(all="ignore"):
            return function(*(_floats(one) for one in given), **known)
    except (TypeError, ValueError):  # another number of inputs
        return None


def _floats(value):
    return value if np.asarray(value).dtype == bool else np.asarray(value, np.float64)


def _integers(cast: NodeProto) -> bool:
    # float, float16, double, bfloat16, bool
    return not any(one.name == "to" and one.i in (1, 10, 11, 16, 9) for one in cast.attribute)


def _number(tensor) -> float | None:
    """The number that a constant tensor has everywhere, or None."""
    size = 1
    for length in tensor.dims:
        size *= length
    if not 0 < size <= MOST_VALUES:
        return None
    try:
        values = numpy_helper.to_array(tensor).ravel()
        return float(values[0]) if (values == values[0]).all() else None
    except Exception:  # a damaged one, or texts
        return None


def _constant(node: NodeProto) -> float | None:
    for one in node.attribute:
        if one.name == "value":
            return _number(one.t)
        if one.name in ("value_float", "value_int"):
            return float(helper.get_attribute_value(one))
        if one.name in ("value_floats", "value_ints"):
            values = set(helper.get_attribute_value(one))
            return float(values.pop()) if len(values) == 1 else None
    return None


def _same(one: Activation, other: Activation) -> bool:
    if one.source != other.source:
        return False
    assert one.function is not None and other.function is not None, "groups of nodes have one"
    return np.allclose(one.function(GRID), other.function(GRID), TOLERANCE, TOLERANCE)


def _text(limit: float | None) -> str:
    return "nothing" if limit is None or not np.isfinite(limit) else f"{limit:g}"


def _ancestors(tensor: str, makers: dict[str, int], nodes: list[NodeProto]) -> set[int]:
    found, waiting = set(), [tensor]
    while waiting:
        position = makers.get(waiting.pop())
        if position is not None and position not in found:
            found.add(position)
            waiting += nodes[position].input
    return found


def _known(values: np.ndarray) -> tuple[str, Callable] | None:
    """The known function that gives values on GRID."""
    values = np.asarray(values, np.float64)
    if values.shape != GRID.shape or not np.isfinite(values).all():
        return None
    line = values[0] + (values[-1] - values[0]) * (GRID - GRID[0]) / (GRID[-1] - GRID[0])
    if np.abs(values - line).max() < LINEAR:
        return None
    fitted = ((kind, function, function(GRID)) for kind, function in _with_parameters(values))
    for kind, function, expected in chain(ON_GRID, fitted):
        if (np.abs(values - expected) <= TOLERANCE * np.maximum(1, np.abs(expected))).all():
            return kind, function
    return None


def _with_parameters(values: np.ndarray) -> Iterator[tuple[str, Callable]]:
    """Known functions with parameters that fit values on GRID in a place."""
    at = {x: values[np.argmin(np.abs(GRID - x))] for x in (-12, -1, 0, 1)}
    slope = -at[-1]
    if 0 < slope < 1:
        yield "LeakyRelu", lambda x: _leaky_relu(x, slope)
    alpha = -at[-12]
    if alpha > 0:
        yield "Elu", lambda x: _elu(x, alpha / -np.expm1(-12))
        yield "Celu", lambda x: _celu(x, alpha)
    if 0 < at[1] < 1:
        beta = np.log(at[1] / (1 - at[1]))
        if beta > 0:
            yield "Swish", lambda x: _swish(x, beta)
    scale, shift = at[1] - at[0], at[0]
    if scale > 0:
        yield "StarRelu", lambda x: scale * _relu(x) ** 2 + shift
