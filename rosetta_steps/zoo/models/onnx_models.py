"""ONNX files, run by ONNX Runtime with the outputs of their activation nodes exposed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import GraphProto, NodeProto, helper, numpy_helper
from torch import Tensor

from rosetta_steps.zoo.maps import FIRST, HOW_TOKENS_LIE, LAST, Reader, Source, tokens_from
from rosetta_steps.zoo.models.architecture import read_architecture
from rosetta_steps.zoo.models.preprocessing import preprocessing_of
from rosetta_steps.zoo.taps import ANY_MODULE, Choice, Layer, moved
from rosetta_steps.zoo.weights import weights_file

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
    "QuickGelu",
)
KEYS = ("channels_last", "grid", "prefix_tokens")
TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class Model:
    """An ONNX graph as the zoo needs it: images in [0, 1] in, maps out."""

    def __init__(self, name: str, entry: dict, path: Path, device: str):
        try:
            graph = onnx.load(path)
        except Exception as error:  # protobuf's own types
            raise ValueError(f"{name}: {path} is not an ONNX file ({error}).") from None
        architecture = read_architecture(name, entry, KEYS)
        self.name, self.path = name, path
        self.channels_last = architecture.get("channels_last", False)
        self.preprocessing = preprocessing_of(name, entry, {})
        self.tokens = tokens_from(name, architecture)
        # Layer name to (tensor, nonlinearity).
        self.outputs = outputs_of(graph.graph)
        if not self.outputs:
            raise ValueError(
                f"{name}: {path} has no activation nodes ({', '.join(NONLINEARITIES)}, or Sigmoid, "
                "Erf, Tanh and Clip as in SiLU, GELU and ReLU6), so it has no units. Export "
                "the model without fusing its activations."
            )
        for tensor, _ in self.outputs.values():
            graph.graph.output.append(onnx.ValueInfoProto(name=tensor))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            providers.insert(0, "CUDAExecutionProvider")
        available = onnxruntime.get_available_providers()
        self.session = onnxruntime.InferenceSession(
            graph.SerializeToString(),
            options,
            providers=[provider for provider in providers if provider in available],
        )
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in TYPES or len(inputs[0].shape) != 4:
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise ValueError(
                f"{name}: {path} takes {found}, expected one batch of images in four dimensions, "
                f"of type {', '.join(TYPES)}."
            )
        self.input = inputs[0]
        fixed = self.input.shape[0]
        self.batch = fixed if isinstance(fixed, int) and fixed > 0 else None

    def layers(self, patterns: Sequence[str] | None = None) -> list[Layer]:
        """Layers that match, in the order of the graph, found by running grey images.

        Args:
            patterns: Of layer names, as fnmatch has them; None for all.

        Raises:
            ValueError: The file cannot be run on images of this size, or a pattern matches outputs
                of which none is a map, or begins with `module:`.
        """
        choice = Choice(patterns)
        if any_module := [one for one in choice.patterns if one.startswith(ANY_MODULE)]:
            raise ValueError(
                f"{self.name}: layer pattern '{any_module[0]}' asks for the output of any module, "
                "and an ONNX file has nodes, no modules. Give patterns of its layers without "
                f"'{ANY_MODULE}' (python -m rosetta_steps.zoo show {self.name})."
            )
        wanted = [name for name in self.outputs if choice.matching(name, True)]
        # Two images, so that what is no batch of images shows.
        grey = torch.full((self.batch or 2, 3, *self.preprocessing.size), 0.5)
        for name, maps in zip(wanted, self._maps(grey, wanted), strict=True):
            choice.see(name, True, self.outputs[name][1], maps)
        try:
            return choice.layers(HOW_TOKENS_LIE)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def activations(
        self, images: Tensor, layers: Sequence[str], *, into: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Maps of some layers, (image, channel, y, x) each, of images in [0, 1].

        Args:
            images: (image, rgb, y, x) of any size.
            layers: Names, as `layers` gives them.
            into: Of each layer, where its maps go; None: to new memory.

        Raises:
            ValueError: There is no such layer, or its output is no map.
        """
        if missing := [name for name in layers if name not in self.outputs]:
            raise ValueError(f"{self.name}: {self.path} has no layer {', '.join(missing)}.")
        parts = images.split(self.batch or len(images))
        found = [self._maps(part, layers) for part in parts]
        maps = {}
        for position, name in enumerate(layers):
            pieces = [part[position] for part in found]
            if isinstance(pieces[0], str):
                raise ValueError(f"{self.name}: {name} {pieces[0]}.{HOW_TOKENS_LIE}")
            together = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
            maps[name] = together if into is None else moved(name, together, into[name])
        return maps

    def _maps(self, images: Tensor, layers: Sequence[str]) -> list[Tensor | str]:
        count = len(images)
        if self.batch and count < self.batch:  # the last, short batch of a file of a fixed one
            images = torch.cat([images, images[-1:].expand(self.batch - count, -1, -1, -1)])
        inputs = self.preprocessing(images.cpu()).numpy()
        if self.channels_last:
            inputs = inputs.transpose(0, 2, 3, 1)
        inputs = np.ascontiguousarray(inputs, dtype=TYPES[self.input.type])
        tensors = [self.outputs[name][0] for name in layers]
        try:
            arrays = self.session.run(tensors, {self.input.name: inputs})
        except Exception as error:  # ONNX Runtime's own types
            raise ValueError(
                f"{self.name}: {self.path} takes {self.input.shape} and cannot be run on images "
                f"{inputs.shape}: {error}. Check architecture.channels_last and preprocessing.size "
                "of its entry."
            ) from None
        # Where the proportions leave it open, the layout is that of the input. (A converter may
        # transpose: images with their channels last, and maps with their channels first.)
        axis = LAST if self.channels_last else FIRST
        reader = Reader(self.tokens, len(images), self.preprocessing.size)
        maps = []
        for name, array in zip(layers, arrays, strict=True):
            source = Source(nonlinearity=self.outputs[name][1], axis=axis, axes={axis})
            read = reader.read(torch.from_numpy(array), source)
            maps.append(read if isinstance(read, str) else read[:count])
        return maps


def load(name: str, entry: dict, weights: Path | None, device: str) -> Model:
    """A model from its file; the file is the architecture, so it is fetched when it is not given.

    Raises:
        ValueError: The file is not ONNX, has no activation nodes, or takes other inputs.
    """
    return Model(name, entry, weights or weights_file(name, entry), device)


def outputs_of(graph: GraphProto) -> dict[str, tuple[str, str]]:
    """Layer name to the tensor after a nonlinearity and its kind, in the order of the graph.

    A node's name has slashes, a layer's has none. Nonlinearities that exporters write as several
    nodes are found as well: x * sigmoid(x), GELU with erf or tanh, ReLU6 as a clip.
    """
    makers = {tensor: node for node in graph.node for tensor in node.output}
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for tensor in node.input:
            users.setdefault(tensor, []).append(node)
    last_of_gelu = {
        node.output[0]
        for erf in graph.node
        if erf.op_type in ("Erf", "Tanh")
        for node in _after_erf(erf, users, constants)
    }
    outputs: dict[str, tuple[str, str]] = {}
    calls: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in NONLINEARITIES:
            kind = node.op_type
        elif node.output and node.output[0] in last_of_gelu:
            kind = "Gelu"
        elif node.op_type == "Mul":
            kind = _gated(node, makers, constants)
        elif node.op_type == "Clip":
            kind = "Relu6" if _limits(node, constants) == (0, 6) else None
        else:
            kind = None
        if kind is None:
            continue
        name = (node.name or node.output[0]).strip("/").replace("/", ".")
        call = calls[name] = calls.get(name, -1) + 1
        outputs[f"{name}#{call}" if call else name] = (node.output[0], kind)
    return outputs


def _gated(node: NodeProto, makers: dict, constants: dict) -> str | None:
    # x * sigmoid(x), x * sigmoid(1.702 x), x * hard_sigmoid(x); not a gate from elsewhere.
    for x, gate in (tuple(node.input), tuple(node.input)[::-1]):
        sigmoid = makers.get(gate)
        if sigmoid is None or sigmoid.op_type not in ("Sigmoid", "HardSigmoid"):
            continue
        if sigmoid.input[0] == x:
            return "Swish" if sigmoid.op_type == "Sigmoid" else "HardSwish"
        scaled = makers.get(sigmoid.input[0])
        if scaled is not None and scaled.op_type == "Mul" and x in scaled.input:
            return "QuickGelu" if _scalar(scaled, constants) is not None else None
    return None


def _after_erf(erf: NodeProto, users: dict, constants: dict) -> Iterator[NodeProto]:
    # x / sqrt(2) -> Erf -> + 1 -> * x -> * 0.5, where 0.5 may also come into x before; with Tanh
    # likewise.
    plus = _only_user(erf, "Add", users)
    if plus is None or _scalar(plus, constants) != 1:
        return
    last = _only_user(plus, "Mul", users)
    if last is None:
        return
    half = _only_user(last, "Mul", users)
    yield half if half is not None and _scalar(half, constants) == 0.5 else last


def _only_user(node: NodeProto, kind: str, users: dict) -> NodeProto | None:
    found = users.get(node.output[0], [])
    return found[0] if len(found) == 1 and found[0].op_type == kind else None


def _scalar(node: NodeProto, constants: dict) -> float | None:
    values = [constants[tensor] for tensor in node.input if tensor in constants]
    return float(np.ravel(values[0])[0]) if values and np.size(values[0]) == 1 else None


def _limits(clip: NodeProto, constants: dict) -> tuple[float, float] | None:
    # Inputs since opset 11, attributes before.
    given = {one.name: helper.get_attribute_value(one) for one in clip.attribute}
    for name, tensor in zip(("min", "max"), list(clip.input)[1:], strict=False):
        if tensor in constants:
            given[name] = float(constants[tensor])
    return (given["min"], given["max"]) if {"min", "max"} <= given.keys() else None
