"""The common interface of generators: from latents, labels and truncation to images and maps."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.checkpoints.reading import load_state, read_weights
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.generators.published_settings import disagreement
from rosetta_steps.zoo.hooks import Layer, activations_of, layers_of
from rosetta_steps.zoo.loaders import loaders_of
from rosetta_steps.zoo.protocols import TorchGenerator

MEAN_W = "mapping.w_avg"
OWN_MODULE = (
    "its module does not say truncates = True (one that does is called with the truncation too, "
    "docs/how-to/own-model.md)"
)


class Generator:
    """A generator of any family, on a device.

    Attributes:
        network: Torch module, for inversion and editing, which need its gradients and its parts
            (`mapping` and `synthesis` of a StyleGAN, whose w has one row for each layer).
        latent_size: Number of components of z.
        classes: Number of classes; 0 if it is unconditional.
        truncates: Whether it supports a truncation other than 1.
        no_truncation: Reason why it cannot be truncated, if so.
        latent_bound: Bound of z, which is normal within -bound and bound; None for no bound.
        truncation_scales_z: Whether z is multiplied by the truncation (BigGAN).
    """

    def __init__(self, name: str, network: nn.Module, device: str, autocast: str | None = None):
        self.name, self.network, self.device = name, network.eval(), device
        self.latent_size = cast(int, network.latent_size)
        self.classes = getattr(network, "classes", 0)
        self.truncates = getattr(network, "truncates", False)
        self.no_truncation = getattr(network, "no_truncation", OWN_MODULE)
        self.latent_bound = getattr(network, "latent_bound", None)
        self.truncation_scales_z = getattr(network, "truncation_scales_z", False)
        self.autocast = autocast

    def check(self, truncation: float) -> None:
        """Raise a ValueError if the generator does not support a truncation."""
        if truncation == 1:
            return
        if not self.truncates:
            raise UserError(
                f"{self.name} cannot be truncated: {self.no_truncation}. Leave out truncation: "
                f"{truncation}."
            )
        # A truncation of 0 is refused for BigGAN, because it would make all z equal.
        if not 0 <= truncation <= 1 or (truncation == 0 and self.truncation_scales_z):
            within = "above 0 and at most 1" if self.truncation_scales_z else "between 0 and 1"
            raise UserError(f"truncation {truncation} of {self.name} is not {within}.")

    def generate(
        self, latents: Tensor, labels: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Return images (image, rgb, y, x) float32, clamped to [0, 1].

        Args:
            latents: Latents z, (image, latent).
            labels: Class indices (image), if the generator has classes.
            truncation: Truncation psi; 1 means no truncation.
        """
        return ((self.raw(latents, labels, truncation).float() + 1) / 2).clamp(0, 1)

    def raw(self, latents: Tensor, labels: Tensor | None, truncation: float) -> Tensor:
        """Return the network's output, (image, rgb, y, x) in about [-1, 1], not clamped."""
        arguments: list[Tensor | float | None] = [latents.to(self.device)]
        if self.classes or self.truncates:
            arguments.append(None if labels is None else labels.to(self.device))
        if self.truncates:
            arguments.append(truncation)
        kind = torch.device(self.device).type
        if self.autocast is None or kind == "meta":
            return self.network(*arguments)
        with torch.autocast(kind, getattr(torch, self.autocast)):
            return self.network(*arguments)

    def layers(self, patterns: Sequence[str] | None = None) -> list[Layer]:
        """Return matching layers in order of the forward pass; None means all post-activations."""
        latents = torch.zeros(1, self.latent_size, device=self.device)
        labels = torch.zeros(1, dtype=torch.long, device=self.device) if self.classes else None
        return layers_of(self.network, lambda: self.raw(latents, labels, 1.0), patterns)

    def activations(
        self,
        latents: Tensor,
        layers: Sequence[str],
        labels: Tensor | None = None,
        truncation: float = 1.0,
        into: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return maps of some layers, (image, channel, y, x); `into` is as in activations_of."""
        maps, _ = activations_of(
            self.network, lambda: self.raw(latents, labels, truncation), layers, into=into
        )
        return maps


def load(name: str, entry: Entry, weights: Path | None, device: str) -> TorchGenerator:
    """Return a generator with its weights, or on the meta device if `weights` is None.

    Raises:
        ValueError: The architecture cannot be built, the weights do not fit, or their file has
            other settings than the entry.
    """
    network, build_on = _network(name, entry, weights)
    device = build_on if weights is None else device
    generator = Generator(name, network.to(device), device, entry.autocast)
    if entry.loader == "function":
        _functions().check(generator)
    return generator


def hold(name: str, entry: Entry, weights: Path, device: str) -> None:
    """Check that a generator can be built and its weights fit, without generating an image.

    Raises:
        ValueError: `load` would refuse the generator.
    """
    _network(name, entry, weights)


def _functions():
    # Imported by name: it brings the libraries of the models, which no other generator needs.
    return importlib.import_module(f"rosetta_steps.{loaders_of('generator')['function'].module}")


def _network(name: str, entry: Entry, weights: Path | None) -> tuple[nn.Module, str]:
    """Return the network of an entry, with its weights, and the device it was built on."""
    own = entry.loader == "function"
    build_on = "meta" if weights is None and not own else "cpu"
    with torch.device(build_on):
        network = _functions().build(name, entry) if own else build(name, entry)
    if weights is not None and not entry.weights.function:
        _load_weights(name, entry, network, weights)
    return network, build_on


def _load_weights(name: str, entry: Entry, network: nn.Module, weights: Path) -> None:
    checkpoint, by_order = read_weights(name, entry, weights)
    tensors = checkpoint.tensors
    own = network.state_dict()
    if own.keys() - tensors.keys() == {MEAN_W} and not by_order:
        # Some published .pt files lack the mean of w, which only truncation needs.
        tensors = {**tensors, MEAN_W: torch.zeros_like(own[MEAN_W])}
        network.truncates = False  # type: ignore[assignment]  # torch's says modules and tensors
    other = ""
    if entry.loader != "function":
        other = disagreement(name, weights, network, entry.keywords, checkpoint.settings)
    try:
        load_state(network, tensors, name, by_order=by_order, path=weights, source=entry.weights)
    except ValueError as error:
        raise UserError(f"{error} {other}".strip()) from None
    if other:
        raise UserError(other)


def build(name: str, entry: Entry) -> nn.Module:
    """Return the network of a family with random weights.

    Raises:
        ValueError: The architecture cannot be built.
    """
    loader = loaders_of("generator")[entry.loader]
    module = importlib.import_module(f"rosetta_steps.{loader.module}")
    network_class = getattr(module, loader.network)
    try:
        return network_class(**entry.keywords)
    except ValueError as error:  # which says what to correct
        raise UserError(f"{name}: {error}") from None
    except TypeError as error:
        raise UserError(
            f"{name}: its architecture cannot be built: {error}. Correct `architecture` of its "
            "entry in config/models.yaml."
        ) from None
