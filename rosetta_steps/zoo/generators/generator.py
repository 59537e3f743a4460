"""A generator as the zoo needs it: latents, labels and truncation in, images and maps out."""

import importlib
from collections.abc import Mapping
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

MEAN_W = "mapping.w_avg"
OWN_MODULE = (
    "its module does not say truncates = True (one that does is called with the truncation too, "
    "docs/how-to/own-model.md)"
)


class Generator:
    """A network of one of the families beside this file, on a device.

    Attributes:
        network: For inversion and editing, which need its parts (`mapping` and `synthesis` of a
            StyleGAN, whose w has one row a layer) and its gradients.
        latent_size: Components of z.
        classes: Number of classes, 0 where it is unconditional.
        truncates: Whether a truncation other than 1 means something to it.
        no_truncation: Why it cannot be truncated, where it cannot.
        latent_bound: z is normal within -bound and bound, or without limits where it is None.
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
        """Raise a ValueError if the generator cannot be truncated so."""
        if truncation == 1:
            return
        if not self.truncates:
            raise UserError(
                f"{self.name} cannot be truncated: {self.no_truncation}. Leave out truncation: "
                f"{truncation}."
            )
        # BigGAN has no image at 0, where every z is the same.
        if not 0 <= truncation <= 1 or (truncation == 0 and self.truncation_scales_z):
            within = "above 0 and at most 1" if self.truncation_scales_z else "between 0 and 1"
            raise UserError(f"truncation {truncation} of {self.name} is not {within}.")

    def generate(
        self, latents: Tensor, labels: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Images (image, rgb, y, x) float32 in [0, 1], clamped.

        Args:
            latents: z, (image, latent).
            labels: Class indices (image), where there are classes.
            truncation: psi of the family; 1 is none.
        """
        return ((self.raw(latents, labels, truncation).float() + 1) / 2).clamp(0, 1)

    def raw(self, latents: Tensor, labels: Tensor | None, truncation: float) -> Tensor:
        """What the network returns, (image, rgb, y, x) in about [-1, 1], not clamped."""
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

    def layers(self, patterns: list[str] | None = None) -> list[Layer]:
        """Layers that match, in the order of the forward pass; by default every post-activation."""
        latents = torch.zeros(1, self.latent_size, device=self.device)
        labels = torch.zeros(1, dtype=torch.long, device=self.device) if self.classes else None
        return layers_of(self.network, lambda: self.raw(latents, labels, 1.0), patterns)

    def activations(
        self,
        latents: Tensor,
        layers: list[str],
        labels: Tensor | None = None,
        truncation: float = 1.0,
        into: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Maps of some layers, (image, channel, y, x) each; `into`: as activations_of has it."""
        maps, _ = activations_of(
            self.network, lambda: self.raw(latents, labels, truncation), layers, into=into
        )
        return maps


def load(name: str, entry: Entry, weights: Path | None, device: str) -> Generator:
    """A generator with its weights, or without values on the meta device.

    Raises:
        ValueError: The architecture cannot be built, the weights do not fit, or their file states
            other settings than the entry.
    """
    network, build_on = _network(name, entry, weights)
    device = build_on if weights is None else device
    generator = Generator(name, network.to(device), device, entry.autocast)
    if entry.loader == "function":
        _functions().check(generator)
    return generator


def hold(name: str, entry: Entry, weights: Path, device: str) -> None:
    """Build a generator and load its weights, without making an image.

    Raises:
        ValueError: As load.
    """
    _network(name, entry, weights)


def _functions():
    # Imported by name: it brings the libraries of the models, which no other generator needs.
    return importlib.import_module(f"rosetta_steps.{loaders_of('generator')['function'].module}")


def _network(name: str, entry: Entry, weights: Path | None) -> tuple[nn.Module, str]:
    """The network of an entry, with its weights, and the device that it was built on."""
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
        # Some published .pt files leave out the mean of w, which only truncation needs.
        tensors = {**tensors, MEAN_W: torch.zeros_like(own[MEAN_W])}
        network.truncates = False  # type: ignore[assignment]  # torch's says modules and tensors
    other = ""
    if entry.loader != "function":
        other = disagreement(name, weights, network, entry.keywords, checkpoint.settings)
    try:
        load_state(network, tensors, name, by_order, weights, entry.weights)
    except ValueError as error:
        raise UserError(f"{error} {other}".strip()) from None
    if other:
        raise UserError(other)


def build(name: str, entry: Entry) -> nn.Module:
    """The network of a family, with random weights.

    Raises:
        ValueError: Its architecture cannot be built.
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
