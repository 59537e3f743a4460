"""Perceptual distance: two images as a network sees them (Zhang et al. 2018, eq. 1).

LPIPS weighs the channels of AlexNet, VGG or SqueezeNet by what people found alike. Any model of the
zoo that has gradients does without such weights: all channels count the same, and the distance is
named after the model, never LPIPS.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.loading import choose_layers, load
from rosetta_steps.zoo.weights import weights_file

LPIPS = "lpips"
LPIPS_BACKBONE: Literal["vgg"] = "vgg"


# Smaller maps say little of where things are, and cost the second half of a pass.
SMALLEST_MAP = 8


def compared_layers(layers: list) -> list[str]:
    """Names of the layers that a distance compares: of each map size the last, as LPIPS has it.

    Of a network whose maps all have one size, such as a vision transformer, every layer.

    Args:
        layers: Of the network (zoo.hooks.Layer), in order.
    """
    large = [layer for layer in layers if min(layer.size) >= SMALLEST_MAP] or layers
    last = {layer.size: layer.name for layer in large}
    return list(last.values()) if len(last) > 1 else [layer.name for layer in large]


class PerceptualDistance(Protocol):
    """What compares images by a network; features are in a form of its own.

    Attributes:
        label: Of a column of a table.
    """

    label: str

    @property
    def network(self) -> nn.Module:
        """What is run."""

    def features(self, images: Tensor) -> Any:
        """Of images (image, rgb, y, x) in [0, 1], what `distance` compares."""

    def distance(self, a: Any, b: Any) -> Tensor:
        """Distance of each image of a to that of b, (image)."""


class ZooDistance:
    """Mean over layers and positions of the squared difference of features of unit length.

    Args:
        name: Of a model of the zoo.
        zoo: File with its entry.
        size: Pixels a side of what the model sees.
        device: "cpu" or "cuda".

    Raises:
        ValueError: There is no such model, its weights cannot be had, or it has no gradients.
    """

    def __init__(self, name: str, zoo: str, size: int, device: str):
        entry = find_entry(name, zoo)
        if entry.role != "model" or entry.loader == "onnx":
            raise UserError(
                f"{name} cannot be a perceptual network: it has the role '{entry.role}' and the "
                f"loader '{entry.loader}', and gradients are needed. Choose a timm, open_clip "
                "or function model."
            )
        chosen = entry
        if entry.loader == "timm" and "img_size" not in str(entry.architecture):
            preprocessing = (entry.preprocessing or {}) | {"size": [size, size]}
            chosen = replace(entry, preprocessing=preprocessing)
        self.model = load(name, chosen, weights_file(name, entry), device)
        self.network = self.model.module.requires_grad_(False)
        outline = load(name, chosen)
        preset = "block" if "block" in entry.layers else "all"
        self.layers = compared_layers(choose_layers(name, entry, outline, preset))
        self.label = f"perceptual_{name}"

    def features(self, images: Tensor) -> list[Tensor]:
        """Features of images (image, rgb, y, x) in [0, 1], of unit length at each position."""
        maps = self.model.activations(images, self.layers, gradients=True)
        return [m / (m.square().sum(1, keepdim=True) + 1e-10).sqrt() for m in maps.values()]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Distance of each image of a to that of b, (image)."""
        parts = [(x - y).square().sum(1).mean((1, 2)) for x, y in zip(a, b, strict=True)]
        return torch.stack(parts).mean(0)


class Lpips:
    """LPIPS by torchmetrics; its backbone comes from torchvision's hub when it is first used.

    Raises:
        ValueError: The backbone cannot be had.
    """

    def __init__(self, device: str):
        from torchmetrics.functional.image.lpips import _NoTrainLpips

        try:
            self.network = _NoTrainLpips(net=LPIPS_BACKBONE).to(device).eval()
        except OSError as error:
            folder = Path(torch.hub.get_dir()) / "checkpoints"
            raise UserError(
                f"LPIPS needs the {LPIPS_BACKBONE} weights of torchvision, which cannot be had "
                f"({error}). Put the file into {folder}, or use a network of the zoo: "
                "reconstruction: perceptual, and its name among the metrics."
            ) from None
        self.network.requires_grad_(False)
        self.label = LPIPS

    def features(self, images: Tensor) -> Tensor:
        """The images (image, rgb, y, x) in [0, 1]: the network compares pairs of them."""
        return images

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance of each image of a to that of b, (image)."""
        return self.network(a, b, normalize=True).flatten()


def distance_of(name: str, zoo: str, size: int, device: str) -> PerceptualDistance:
    """A perceptual distance by its name: lpips, or a model of the zoo."""
    return Lpips(device) if name == LPIPS else ZooDistance(name, zoo, size, device)
