"""Any model of timm whose activations are maps."""

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from rosetta_steps.zoo.checkpoints.reading import load_state, read_tensors
from rosetta_steps.zoo.entries import suggestion
from rosetta_steps.zoo.models.preprocessing import Preprocessing, no_images, preprocessing_of
from rosetta_steps.zoo.taps import Layer, activations_of, layers_of


class Model:
    """A torch model as the zoo needs it: images in [0, 1] in, maps out."""

    def __init__(self, module: nn.Module, preprocessing: Preprocessing, device: str):
        # channels_last halves the forward pass of a convolutional network on a CPU.
        self.module = module.eval().to(memory_format=torch.channels_last)
        self.preprocessing, self.device = preprocessing, device

    def layers(self) -> list[Layer]:
        """All layers, in the order of the forward pass."""
        return layers_of(self.module, no_images(self.preprocessing.size, self.device))

    def activations(self, images: Tensor, layers: list[str]) -> dict[str, Tensor]:
        """Maps of some layers, (image, channel, y, x) each, of images in [0, 1]."""
        inputs = self.preprocessing(images.to(self.device))
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        return activations_of(self.module, inputs, layers)[0]

    def scores(self, images: Tensor) -> Tensor:
        """The model's own output for images in [0, 1]."""
        with torch.inference_mode():
            return self.module(self.preprocessing(images.to(self.device)))


def load(name: str, entry: dict, weights: Path | None, device: str) -> Model:
    """A model with its weights, or without values on the meta device.

    Raises:
        ValueError: timm has no such architecture, or the weights do not fit.
    """
    architecture = entry["architecture"]
    if not timm.is_model(architecture):
        raise ValueError(
            f"{name}: timm {timm.__version__} has no architecture '{architecture}'. "
            + suggestion(architecture, timm.list_models())[:300]
        )
    with torch.device("meta" if weights is None else "cpu"):
        module = timm.create_model(architecture, pretrained=False)
    config = module.pretrained_cfg
    preprocessing = preprocessing_of(
        name,
        entry,
        {
            "size": config["input_size"][1:],
            "interpolation": config["interpolation"],
            "mean": config["mean"],
            "std": config["std"],
        },
    )
    if weights is not None:
        tensors = read_tensors(weights, entry["weights"].get("key"))
        load_state(module, tensors, name, by_order=entry.get("keys") == "by_order")
        module.to(device)
    return Model(module, preprocessing, "meta" if weights is None else device)
