"""Perceptual distances of images by a network's features (Zhang et al. 2018, eq. 1).

LPIPS weights the channels of AlexNet, VGG or SqueezeNet, fitted to human judgements. Any model of
the zoo that has gradients can be used without such weights: all channels then count the same, and
the distance is named after the model, not LPIPS.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from rosetta_steps.inversion.metrics import IN_EVERY_TABLE, LPIPS, METRICS, Metric
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.loaders import loaders_of
from rosetta_steps.zoo.loading import choose_layers, load
from rosetta_steps.zoo.weights import weights_file

LPIPS_BACKBONE: Literal["vgg"] = "vgg"
# Smaller maps have little spatial information, and computing them costs half of a forward pass.
SMALLEST_MAP = 8


def compared_layers(layers: list) -> list[str]:
    """Return the names of the layers that a distance compares: the last of each map size.

    This follows LPIPS. If all maps have one size, as in a vision transformer, all layers are
    compared.

    Args:
        layers: Layers of the network (zoo.hooks.Layer), in order.
    """
    large = [layer for layer in layers if min(layer.size) >= SMALLEST_MAP] or layers
    last = {layer.size: layer.name for layer in large}
    return list(last.values()) if len(last) > 1 else [layer.name for layer in large]


class PerceptualDistance(Protocol):
    """Protocol of distances that compare images by a network.

    Attributes:
        label: Name of its column in a table.
    """

    label: str

    @property
    def network(self) -> nn.Module:
        """Network that is run."""

    def features(self, images: Tensor) -> Any:
        """Return what `distance` compares, from images (image, rgb, y, x) in [0, 1]."""

    def distance(self, a: Any, b: Any) -> Tensor:
        """Return the distance between corresponding images of a and b, (image)."""


class ZooDistance:
    """Mean over layers and positions of the squared difference of unit-length feature vectors.

    Args:
        name: Name of a model of the zoo.
        zoo: Path of the file with its entry.
        size: Height and width of the model's input in pixels.
        device: "cpu" or "cuda".

    Raises:
        ValueError: There is no such model, its weights are not available, or it has no gradients.
    """

    def __init__(self, name: str, zoo: str, size: int, device: str):
        entry = find_entry(name, zoo)
        models = loaders_of("model")
        if entry.role != "model" or not models[entry.loader].gradients:
            able = [loader for loader, of in models.items() if of.gradients and of.weights]
            raise UserError(
                f"{name} cannot be a perceptual network: it has the role '{entry.role}' and the "
                f"loader '{entry.loader}', and gradients are needed. Choose a model of the loader "
                f"{', '.join(able[:-1])} or {able[-1]}."
            )
        chosen = entry
        if entry.loader == "timm" and "img_size" not in str(entry.architecture):
            preprocessing = (entry.preprocessing or {}) | {"size": [size, size]}
            chosen = replace(entry, preprocessing=preprocessing)
        self.model = load(name, chosen, weights_file(name, entry), device)
        self.network = self.model.module.requires_grad_(False)
        preset = "block" if "block" in entry.layers else "all"
        self.layers = compared_layers(choose_layers(name, entry, self.model, preset))
        self.label = f"perceptual_{name}"

    def features(self, images: Tensor) -> list[Tensor]:
        """Return features of unit length at each position, from images (image, rgb, y, x)."""
        maps = self.model.activations(images, self.layers, gradients=True)
        return [m / (m.square().sum(1, keepdim=True) + 1e-10).sqrt() for m in maps.values()]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Return the distance between corresponding images of a and b, (image)."""
        parts = [(x - y).square().sum(1).mean((1, 2)) for x, y in zip(a, b, strict=True)]
        return torch.stack(parts).mean(0)


class Lpips:
    """LPIPS by torchmetrics; torchvision downloads its backbone at the first use.

    Raises:
        ValueError: The backbone is not available.
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
        """Return the images (image, rgb, y, x) unchanged, because the network compares images."""
        return images

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance between corresponding images of a and b, (image)."""
        return self.network(a, b, normalize=True).flatten()


def distance_of(name: str, zoo: str, size: int, device: str) -> PerceptualDistance:
    """Return a perceptual distance by its name: "lpips", or a model of the zoo."""
    return Lpips(device) if name == LPIPS else ZooDistance(name, zoo, size, device)


def metrics_of(names: Sequence[str], zoo: str, size: int, device: str) -> list[Metric]:
    """The metrics of a table: PSNR, SSIM, then those that are named.

    Args:
        names: Names of metrics (metrics.METRICS), "lpips", or models of the zoo, each of which
            measures a perceptual distance.
        zoo: File with the entries of the models.
        size: Height and width in pixels of what a model of the zoo sees.
        device: "cpu" or "cuda".

    Raises:
        ValueError: There is no such metric or model, or its weights cannot be had.
    """
    chosen = []
    for name in dict.fromkeys([*IN_EVERY_TABLE, *names]):
        if name in METRICS:
            chosen.append(METRICS[name])
            continue
        distance = distance_of(name, zoo, size, device)
        title = "LPIPS" if name == LPIPS else distance.label
        chosen.append(
            Metric(distance.label, title, False, distance.distance, features=distance.features)
        )
    return chosen
