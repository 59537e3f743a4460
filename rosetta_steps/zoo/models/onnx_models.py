"""ONNX files, run by ONNX Runtime with the outputs of their activations exposed."""

import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Timer
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, external_data_helper, inliner
from torch import Tensor

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.hooks import ANY_MODULE, Choice, Layer, moved
from rosetta_steps.zoo.layouts import FIRST, HOW_TOKENS_LIE, LAST, Reader, Source, tokens_from
from rosetta_steps.zoo.model_files import files_of
from rosetta_steps.zoo.models.architecture import read_architecture
from rosetta_steps.zoo.models.onnx_graphs import (
    DYNAMIC_REASON,
    FUSED,
    NONLINEARITIES,
    Activation,
    Found,
    activations_in,
    name_of,
    nodes_of,
    opset_of,
)
from rosetta_steps.zoo.models.preprocessing import preprocessing_of
from rosetta_steps.zoo.protocols import ImageModel
from rosetta_steps.zoo.weights import weights_file

KEYS = ("channels_last", "grid", "prefix_tokens")
TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
# How far what several nodes compute may lie from their function, over its largest value. Rounding:
# 1e-6 in float32; 5e-4 an operation in float16, of which GELU has eight. GELU by erf and by tanh
# differ by 5e-4, what is quantised in between by 1e-2.
TOLERANCE = {"float32": 1e-3, "float64": 1e-3, "float16": 4e-3}
# Of a file with loops, which need not end: seconds that an image may take.
SECONDS_IN_LOOPS = 20
MOST_NODES = 1_000_000  # of a file whose functions are written out
FATAL = 4  # severity: ONNX Runtime's other messages come as its errors


class Model:
    """An ONNX graph as the zoo needs it: images in [0, 1] in, maps out.

    Attributes:
        outputs: Layer name to its activation, in the order of the graph.
        left_out: Node name to its kind and why it is no layer, though it may look like one.
    """

    def __init__(self, name: str, entry: Entry, path: Path, device: str):
        architecture = read_architecture(name, entry, KEYS)
        self.name, self.path = name, path
        self.channels_last = architecture.get("channels_last", False)
        self.preprocessing = preprocessing_of(name, entry, {})
        self.tokens = tokens_from(name, architecture)
        model = read_model(name, entry, path)
        self._loops = [node for node in nodes_of(model.graph) if node.op_type == "Loop"]
        try:
            found = activations_in(model.graph, opset_of(model))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name}: {path} is damaged: a name in it is no text ({error})."
            ) from None
        if found.refused:
            raise UserError(
                f"{name}: {path} cannot be mined: {'; '.join(found.refused[:3])}. Export the model "
                "for inference (in torch model.eval() before torch.onnx.export)."
            )
        self.outputs, self.left_out = found.layers, found.left_out
        if not self.outputs:
            raise UserError(f"{name}: {path} {_no_layers(model, found)}")
        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            providers.insert(0, "CUDAExecutionProvider")
        self._providers = providers
        self.use(model)
        inputs = self.session.get_inputs()
        fits = len(inputs) == 1 and inputs[0].type in TYPES and len(inputs[0].shape or ()) == 4
        if not fits:
            given = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs) or "nothing"
            raise UserError(
                f"{name}: {path} takes {given}, expected one batch of images in four dimensions, "
                f"of type {', '.join(TYPES)}. Export the part of it that takes normalised images."
            )
        self.input = inputs[0]
        fixed = self.input.shape[0]
        self.batch = fixed if isinstance(fixed, int) and fixed > 0 else None
        self._prove(model)

    def use(self, model: ModelProto) -> None:
        """Run a graph from now on: that of the file, or one with the same layers."""
        self.session = self._session(
            model,
            [one.tensor for one in self.outputs.values()],
            self._providers,
            optimised=True,
        )

    def _session(
        self, model: ModelProto, tensors: Sequence[str], providers: list[str], *, optimised: bool
    ) -> onnxruntime.InferenceSession:
        """A session that gives tensors besides the outputs of a model, which is left as it was."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Its threads sleep between nodes, as others write the maps meanwhile (runtime.at_start).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = FATAL
        if not optimised:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        available = onnxruntime.get_available_providers()
        outputs = model.graph.output
        before = len(outputs)
        present = {one.name for one in outputs}
        outputs.extend(
            onnx.ValueInfoProto(name=one) for one in dict.fromkeys(tensors) if one not in present
        )
        try:
            return onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=[provider for provider in providers if provider in available],
            )
        except Exception as error:  # ONNX Runtime's own types
            raise UserError(
                f"{self.name}: ONNX Runtime {onnxruntime.__version__} cannot load {self.path}: "
                f"{_in_one_line(error)}. Export it again, with operators and an opset that this "
                "version knows (opset 18 is safe)."
            ) from None
        finally:
            del outputs[before:]

    def _prove(self, model: ModelProto) -> None:
        """Leave out what several nodes compute and is not, on an image, its function of its input.

        Raises:
            ValueError: The file cannot be run, or no layer is left.
        """
        unproven = {
            name: (one, one.source)
            for name, one in self.outputs.items()
            if one.source is not None  # as it has a function
        }
        if not unproven:
            return
        tensors = [t for one, source in unproven.values() for t in (source, one.tensor)]
        session = self._session(model, tensors, ["CPUExecutionProvider"], optimised=False)
        values = torch.Generator().manual_seed(0)
        noise = torch.rand(self.batch or 1, 3, *self.preprocessing.size, generator=values)
        arrays = dict(zip(tensors, self._run(session, tensors, noise), strict=True))
        for name, (one, source) in unproven.items():
            reason = _differs(one, arrays[source], arrays[one.tensor])
            if reason:
                del self.outputs[name]
                self.left_out[name] = (one.kind, reason)
        if not self.outputs:
            raise UserError(f"{self.name}: {self.path} has no layers: {_reasons(self.left_out)}.")

    def layers(self, patterns: Sequence[str] | None = None) -> list[Layer]:
        """Layers that match, in the order of the graph, found by running grey images.

        Args:
            patterns: Of layer names, as fnmatch has them; None for all.

        Raises:
            ValueError: The file cannot be run on images of this size, or does not come to an end;
                or a pattern matches outputs of which none is a map, or begins with `module:`.
        """
        choice = Choice(patterns)
        if any_module := [one for one in choice.patterns if one.startswith(ANY_MODULE)]:
            raise UserError(
                f"{self.name}: layer pattern '{any_module[0]}' asks for the output of any module, "
                "and an ONNX file has nodes, no modules. Give patterns of its layers without "
                f"'{ANY_MODULE}' (python -m rosetta_steps.zoo show {self.name})."
            )
        wanted = [name for name in self.outputs if choice.matching(name, True)]
        # Two images, so that what is no batch of images shows.
        grey = torch.full((self.batch or 2, 3, *self.preprocessing.size), 0.5)
        for name, maps in zip(wanted, self._maps(grey, wanted), strict=True):
            choice.see(name, True, self.outputs[name].kind, maps)
        for name, (kind, reason) in self.left_out.items():
            choice.see(name, True, kind, reason)
        try:
            return choice.layers(HOW_TOKENS_LIE)
        except ValueError as error:
            raise UserError(f"{self.name}: {error}") from error

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
            raise UserError(f"{self.name}: {self.path} has no layer {', '.join(missing)}.")
        parts = images.split(self.batch or len(images))
        found = [self._maps(part, layers) for part in parts]
        maps = {}
        for position, name in enumerate(layers):
            pieces = [part[position] for part in found]
            first = pieces[0]
            if isinstance(first, str):
                raise UserError(f"{self.name}: {name} {first}.{HOW_TOKENS_LIE}")
            # One part is like the other: all are maps.
            together = first if len(pieces) == 1 else torch.cat(cast(list[Tensor], pieces))
            maps[name] = together if into is None else moved(name, together, into[name])
        return maps

    def _maps(self, images: Tensor, layers: Sequence[str]) -> list[Tensor | str]:
        count = len(images)
        if self.batch and count < self.batch:  # the last, short batch of a file of a fixed one
            images = torch.cat([images, images[-1:].expand(self.batch - count, -1, -1, -1)])
        arrays = self._run(self.session, [self.outputs[name].tensor for name in layers], images)
        # Where the proportions leave it open, the layout is that of the input. (A converter may
        # transpose: images with their channels last, and maps with their channels first.)
        axis = LAST if self.channels_last else FIRST
        reader = Reader(self.tokens, len(images), self.preprocessing.size)
        maps: list[Tensor | str] = []
        for name, array in zip(layers, arrays, strict=True):
            source = Source(nonlinearity=self.outputs[name].kind, axis=axis, axes={axis})
            if not _is_of_floats(array):
                maps.append(f"is {_described(array)}, no tensor of floats")
                continue
            read = reader.read(torch.from_numpy(array), source)
            maps.append(read if isinstance(read, str) else read[:count])
        return maps

    def _run(
        self, session: onnxruntime.InferenceSession, tensors: Sequence[str], images: Tensor
    ) -> list:
        """Tensors of a session for images in [0, 1], as many as a fixed batch has.

        Raises:
            ValueError: It cannot be run on them, or does not come to an end in its time.
        """
        if not tensors:  # none asked for would be all
            return []
        inputs = self.preprocessing(images.cpu()).numpy()
        if self.channels_last:
            inputs = inputs.transpose(0, 2, 3, 1)
        inputs = np.ascontiguousarray(inputs, dtype=TYPES[self.input.type])
        options = onnxruntime.RunOptions()
        options.log_severity_level = FATAL
        seconds = SECONDS_IN_LOOPS * len(images)
        watch = Timer(seconds, setattr, (options, "terminate", True)) if self._loops else None
        if watch:
            watch.daemon = True
            watch.start()
        try:
            return session.run(tensors, {self.input.name: inputs}, options)
        except Exception as error:  # ONNX Runtime's own types
            if options.terminate:
                loops = ", ".join(name_of(node) for node in self._loops[:4])
                raise UserError(
                    f"{self.name}: {self.path} was stopped after {seconds} seconds on "
                    f"{len(images)} images: its loop ({loops}) does not end, or takes too long. "
                    "Export the model with the number of its steps fixed."
                ) from None
            raise UserError(
                f"{self.name}: {self.path} takes {self.input.shape} and cannot be run on images "
                f"{inputs.shape}: {_in_one_line(error)}. Check architecture.channels_last and "
                "preprocessing.size of its entry."
            ) from None
        finally:
            if watch:
                watch.cancel()


def load(name: str, entry: Entry, weights: Path | None, device: str) -> ImageModel:
    """A model from its file; the file is the architecture, so it is fetched when it is not given.

    Raises:
        ValueError: The file is not ONNX, is one in training mode, lacks a part that lies in another
            file, has no activations, takes other inputs, or ONNX Runtime cannot load it.
    """
    model = Model(name, entry, weights or weights_file(name, entry), device)
    if model.left_out:
        _say(f"{name}: left out of the layers of {model.path}: {_reasons(model.left_out)}.")
    return model


@lru_cache
def _say(words: str) -> None:
    # Once in a process, which may load a model several times.
    print(words, file=sys.stderr)


def read_model(name: str, entry: Entry, path: Path) -> ModelProto:
    """An ONNX file with the data that lies beside it; its own functions are written out.

    Raises:
        ValueError: It is no ONNX file, or a file of its data is missing or damaged.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own types
        raise UserError(f"{name}: {path} is not an ONNX file ({_in_one_line(error)}).") from None
    if not model.graph.node:
        raise UserError(f"{name}: {path} is not an ONNX file, or one without nodes.")
    try:
        others = files_of(Entry.from_mapping({"loader": "onnx"}), path)[1:]
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    try:
        external_data_helper.load_external_data_for_model(model, str(Path(path).parent))
    except Exception as error:  # onnx's own types
        names = ", ".join(str(other) for other in others)
        raise UserError(
            f"{name}: the data of {path} in {names} cannot be read ({_in_one_line(error)}). Export "
            "or copy both again."
        ) from None
    return _without_functions(name, path, model) if model.functions else model


def _without_functions(name: str, path: Path, model: ModelProto) -> ModelProto:
    """A model whose own functions (an exporter's Block, a Gelu of its own) are written out."""
    remedy = "Export it without functions (in torch export_modules_as_functions=False)."
    try:
        nodes = _nodes_written_out(model)
        if nodes > MOST_NODES:
            raise UserError(f"they stand for {nodes} nodes")
        # The version of operators that a function names may be another than that of the file.
        written = inliner.inline_local_functions(model, convert_version=True)
    except (Exception, RecursionError) as error:  # onnx's own types
        raise UserError(
            f"{name}: the functions of {path} cannot be written out ({_in_one_line(error)}). "
            f"{remedy}"
        ) from None
    kept = {(function.domain, function.name) for function in model.functions}
    for node in nodes_of(written.graph):
        if (node.domain, node.op_type) in kept:
            raise UserError(
                f"{name}: {path} has a function {node.op_type} (node {name_of(node)}) of another "
                f"opset than its own, which cannot be written out. {remedy}"
            )
    return written


def _nodes_written_out(model: ModelProto) -> int:
    functions = {(one.domain, one.name): one.node for one in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def count(nodes) -> int:
        return sum(count_of((node.domain, node.op_type)) for node in nodes)

    def count_of(kind: tuple[str, str]) -> int:
        if kind not in functions:
            return 1
        if kind not in counts:
            counts[kind] = 0  # of a function that calls itself, which the inliner refuses
            counts[kind] = count(functions[kind])
        return counts[kind]

    return count(nodes_of(model.graph))


def _no_layers(model: ModelProto, found: Found) -> str:
    """Why a file has no layers: what looks like one and is none, or what there is instead."""
    if found.left_out:
        remedy = ""
        if any(kind in FUSED for kind, _ in found.left_out.values()):
            remedy = " Export the model without fusing its activations."
        elif any(DYNAMIC_REASON in reason for _, reason in found.left_out.values()):
            remedy = " Use the model as it was before it was quantised, or quantise it statically."
        elif any(node.op_type in ("If", "Loop", "Scan") for node in model.graph.node):
            remedy = " Export the model without conditions and loops around its layers."
        return f"has no layers: {_reasons(found.left_out)}.{remedy}"
    kinds = ", ".join(sorted({node.op_type for node in nodes_of(model.graph)}))
    return (
        f"has no activation nodes ({', '.join(NONLINEARITIES)}, nor nodes that together are SiLU, "
        f"GELU, Mish or another), so it has no units. It has {kinds:.300}."
    )


def _reasons(left_out: dict[str, tuple[str, str]]) -> str:
    shown = [f"{name} ({kind}) {reason}" for name, (kind, reason) in list(left_out.items())[:4]]
    more = f"; and {len(left_out) - 4} more" if len(left_out) > 4 else ""
    return "; ".join(shown) + more


def _differs(activation: Activation, source: Any, output: Any) -> str | None:
    """Why an output is not its function of its input, or None."""
    kind = activation.kind
    if not _is_of_floats(source) or not _is_of_floats(output):
        return f"looks like {kind}, but is {_described(output)}, no tensor of floats"
    if source.shape != output.shape:
        return f"looks like {kind}, but makes shape {output.shape} of {source.shape}"
    assert activation.function is not None, "it has a source"
    with np.errstate(all="ignore"):
        expected = activation.function(source.astype(np.float64))
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
        off = np.abs(output - expected)
        off[(output == expected) | (np.isnan(output) & np.isnan(expected))] = 0
    largest = off.max(initial=0) / scale if scale else float(off.any())
    if largest <= TOLERANCE[output.dtype.name]:
        return None
    return (
        f"looks like {kind} of {activation.source}, but on an image it is up to {largest:.1%} of "
        "the largest value off, as where something is quantised in between"
    )


def _is_of_floats(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.name in TOLERANCE


def _described(array: object) -> str:
    return f"of {array.dtype}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"/onnxruntime_src/\S+ .*?\) (?=[A-Z\[])", "", text)  # a line of its source
    return text[:400].rstrip(".")
