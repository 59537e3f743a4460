"""Random weights of an ONNX graph: those it has, shuffled (zoo.untrained)."""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.models.onnx_graphs import subgraphs_of
from rosetta_steps.zoo.models.onnx_models import TYPES, Model, read_model
from rosetta_steps.zoo.rescaling import IMAGES, change_of, moments_of
from rosetta_steps.zoo.textures import textures

# Operators with weights as their second input, and the axis of their output's channels.
CHANNELS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1, "MatMul": -1}
SUFFIX = "_before_its_moments"


def shuffle_model(model: Model, entry: Entry, path: Path, seed: int) -> None:
    """Shuffle the weights of a model; channels keep their mean and standard deviation.

    Args:
        model: With its trained weights; it is changed.
        entry: Its entry.
        path: Its file.
        seed: Decides the order.

    Raises:
        ValueError: It has no weights in floats, or ONNX Runtime cannot run it in parts.
    """
    trained, shuffled = (read_model(model.name, entry, path) for _ in range(2))
    order = np.random.default_rng(seed)
    constants = {name: one for name, one in _constants(shuffled) if _is_shuffled(one)}
    nodes = [node for node in shuffled.graph.node if _shuffles(node, constants)]
    found = [constants[name] for name in dict.fromkeys(node.input[1] for node in nodes)]
    if not found:
        raise UserError(
            f"{model.name}: {path} has no weights in floats, so there is nothing to shuffle. Set "
            "untrained: 0, or take it out of the sample set's models."
        )
    for one in found:
        values = numpy_helper.to_array(one)
        other = order.permutation(values.ravel()).reshape(values.shape)
        one.CopyFrom(numpy_helper.from_array(other, one.name))
    inputs = model.preprocessing(textures(model.batch or IMAGES)).numpy()
    if model.channels_last:
        inputs = inputs.transpose(0, 2, 3, 1)
    inputs = np.ascontiguousarray(inputs, dtype=TYPES[model.input.type])
    try:
        changes = _changes(trained, shuffled, {model.input.name: inputs})
    except Exception as error:  # ONNX Runtime's and onnx's own types
        raise UserError(
            f"{model.name}: the weights of {path} cannot be shuffled: {error}. Set untrained: 0, "
            "or take it out of the sample set's models."
        ) from None
    _insert(shuffled, changes)
    model.use(shuffled)


def _shuffles(node: NodeProto, constants: Collection[str]) -> bool:
    return node.op_type in CHANNELS and len(node.input) > 1 and node.input[1] in constants


def _constants(model: ModelProto) -> Iterator[tuple[str, TensorProto]]:
    for one in model.graph.initializer:
        yield one.name, one
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                yield node.output[0], attribute.t


def _is_shuffled(tensor: TensorProto) -> bool:
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    return tensor.data_type in kinds and len(tensor.dims) > 1


def _changes(
    trained: ModelProto, shuffled: ModelProto, inputs: dict[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scale and shift of each channel, by the output of a node with weights.

    Both graphs are run part by part, each up to the next such node: what follows it sees its
    channels as they will be.
    """
    nodes = list(trained.graph.node)
    constants = {name for name, one in _constants(trained) if _is_shuffled(one)}
    ends = [n + 1 for n, node in enumerate(nodes) if _shuffles(node, constants)]
    needed: list[set[str]] = [set() for _ in range(len(nodes) + 1)]  # by what comes from here on
    for place in range(len(nodes) - 1, -1, -1):
        needed[place] = needed[place + 1] | _taken(nodes[place])
    changes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    live = [dict(inputs), dict(inputs)]
    begin = 0
    for end in ends:
        output = nodes[end - 1].output[0]
        for graph, values in zip((trained, shuffled), live, strict=True):
            values |= _run(graph, begin, end, values, needed[end] | {output})
        rows = [_rows(nodes[end - 1], values[output]) for values in live]
        change = change_of(moments_of(rows[1]), moments_of(rows[0]))
        if change is not None:
            changes[output] = change
            scale, shift = (_shaped(nodes[end - 1], one, live[1][output]) for one in change)
            live[1][output] = live[1][output] * scale + shift
        live = [{k: v for k, v in values.items() if k in needed[end]} for values in live]
        begin = end
    return changes


def _taken(node: NodeProto) -> set[str]:
    inner = (of for graph in subgraphs_of(node) for of in graph.node)
    return set(node.input).union(*(_taken(of) for of in inner)) - {""}


def _run(
    model: ModelProto, begin: int, end: int, values: dict[str, np.ndarray], wanted: set[str]
) -> dict[str, np.ndarray]:
    nodes = model.graph.node[begin:end]
    made = {output for node in nodes for output in node.output}
    taken = set().union(*(_taken(node) for node in nodes))
    outputs = sorted(made & wanted)
    part = helper.make_model(
        helper.make_graph(
            nodes,
            "part",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(values[name].dtype), values[name].shape
                )
                for name in sorted(taken & values.keys())
            ],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [one for one in model.graph.initializer if one.name in taken],
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        part.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {one.name: values[one.name] for one in session.get_inputs()}
    return dict(zip(outputs, session.run(outputs, given), strict=True))


def _rows(node: NodeProto, output: np.ndarray) -> np.ndarray:
    # (channel, value)
    rows = np.moveaxis(output, CHANNELS[node.op_type], 0)
    return rows.reshape(len(rows), -1).astype(np.float64)


def _shaped(node: NodeProto, of_channels: np.ndarray, output: np.ndarray) -> np.ndarray:
    shape = [1] * output.ndim
    shape[CHANNELS[node.op_type]] = -1
    return of_channels.reshape(shape).astype(output.dtype)


def _insert(model: ModelProto, changes: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    nodes: list[NodeProto] = []
    constants = {name: numpy_helper.to_array(one) for name, one in _constants(model)}
    for node in model.graph.node:
        nodes.append(node)
        output = node.output[0] if node.output else ""
        if output not in changes:
            continue
        node.output[0] = output + SUFFIX
        names = [f"{output}_{what}" for what in ("scale", "scaled", "shift")]
        weights = constants[node.input[1]]
        spatial = (1,) * (weights.ndim - 2) if CHANNELS[node.op_type] == 1 else ()
        for name, values in zip((names[0], names[2]), changes[output], strict=True):
            tensor = values.reshape(-1, *spatial).astype(weights.dtype)
            model.graph.initializer.append(numpy_helper.from_array(tensor, name))
        nodes.append(helper.make_node("Mul", [node.output[0], names[0]], [names[1]]))
        nodes.append(helper.make_node("Add", [names[1], names[2]], [output]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
