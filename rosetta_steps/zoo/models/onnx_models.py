"""ONNX files, run by ONNX Runtime with the outputs of their activation nodes exposed."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from rosetta_steps.zoo.models.preprocessing import preprocessing_of
from rosetta_steps.zoo.taps import Layer
from rosetta_steps.zoo.weights import weights_file

NONLINEARITIES = ("Relu", "LeakyRelu", "PRelu", "Elu", "Gelu", "Mish", "HardSwish")


class Model:
    """An ONNX graph as the zoo needs it: images in [0, 1] in, maps out."""

    def __init__(self, name: str, entry: dict, path: Path, device: str):
        try:
            graph = onnx.load(path)
        except Exception as error:  # protobuf's own types
            raise ValueError(f"{name}: {path} is not an ONNX file ({error}).") from None
        self.name = name
        self.channels_last = entry["architecture"].get("channels_last", False)
        self.preprocessing = preprocessing_of(name, entry, {})
        # Layer name to (tensor, nonlinearity). A node's name has slashes, a layer's has none.
        self.outputs = {
            node.name.strip("/").replace("/", "."): (node.output[0], node.op_type)
            for node in graph.graph.node
            if node.op_type in NONLINEARITIES
        }
        if not self.outputs:
            raise ValueError(
                f"{name}: {path} has no activation nodes ({', '.join(NONLINEARITIES)}), so it has "
                "no units. Export the model without fusing its activations."
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
        self.input = self.session.get_inputs()[0].name

    def layers(self) -> list[Layer]:
        """All layers, in the order of the graph, found by running one grey image."""
        grey = torch.full((1, 3, *self.preprocessing.size), 0.5)
        maps = self.activations(grey, list(self.outputs))
        return [
            Layer(name, array.shape[1], tuple(array.shape[2:]), self.outputs[name][1])
            for name, array in maps.items()
        ]

    def activations(self, images: Tensor, layers: list[str]) -> dict[str, Tensor]:
        """Maps of some layers, (image, channel, y, x) each, of images in [0, 1]."""
        inputs = self.preprocessing(images.cpu()).numpy()
        if self.channels_last:
            inputs = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))
        found = self.session.run([self.outputs[name][0] for name in layers], {self.input: inputs})
        maps = {}
        for name, array in zip(layers, found, strict=True):
            tensor = torch.from_numpy(array)
            maps[name] = tensor.permute(0, 3, 1, 2) if self.channels_last else tensor
        return maps


def load(name: str, entry: dict, weights: Path | None, device: str) -> Model:
    """A model from its file; the file is the architecture, so it is fetched when it is not given.

    Raises:
        ValueError: The file is not ONNX or has no activation nodes.
    """
    return Model(name, entry, weights or weights_file(name, entry), device)
