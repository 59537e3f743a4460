"""Models and generators in a notebook: images in, labelled maps out."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from rosetta_steps.runtime.budgets import image_blocks, images_at_once
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.generators.samples import samples_of
from rosetta_steps.zoo.loading import choose_layers, load
from rosetta_steps.zoo.weights import weights_file

ZOO = "config/models.yaml"
AT_ONCE = 32


class OpenModel:
    """A model of the zoo, with its weights.

    Attributes:
        name: In the zoo.
        entry: What the zoo says of it, a zoo.entry.Entry.
        loaded: The model itself: its torch module is `loaded.module`, where it has one.
    """

    def __init__(self, name: str, zoo: str, device: str):
        self.name, self.entry = name, find_entry(name, zoo)
        self.loaded = load(name, self.entry, weights_file(name, self.entry), device)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.entry.source}>"

    def layers(self, layers: str | Sequence[str] = "all") -> list[str]:
        """Names of the layers that match, in the order of the forward pass.

        Args:
            layers: "all", a preset of the entry such as "block", or patterns of names.

        Raises:
            ValueError: Nothing matches; the layers there are.
        """
        return [layer.name for layer in self._chosen(layers)]

    def _chosen(self, layers: str | Sequence[str]) -> list:
        wanted = layers if isinstance(layers, str) else list(layers)
        return choose_layers(self.name, self.entry, self.loaded, wanted)

    def activations(self, images, layers: str | Sequence[str] = "all") -> xr.DataTree:
        """Maps of some layers, a group a layer, as a store of activations has them.

        Args:
            images: (image, rgb, y, x) in [0, 1]: an array, a tensor, or `image` of a sample set.
            layers: As `layers` takes them.

        Returns:
            `activation` (image, channel, y, x) float32 a layer; its attributes say the model, the
            layer and its nonlinearity.

        Raises:
            ValueError: The images are not of this form, or no layer matches.
        """
        given = images_from(images)
        if self.entry.role == "generator":
            raise UserError(
                f"{self.name} is a generator, which is given latents: open_generator('{self.name}')"
            )
        return self._maps(
            layers, len(given), lambda block, names: self.loaded.activations(given[block], names)
        )

    def _maps(self, layers, count: int, run) -> xr.DataTree:
        chosen = self._chosen(layers)
        names = [layer.name for layer in chosen]
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        with torch.inference_mode():
            for block in image_blocks(count, images_at_once(chosen, chosen, AT_ONCE)):
                for name, maps in run(block, names).items():
                    parts[name].append(maps.float().cpu().numpy())
        groups = {
            f"/{layer.name}": xr.Dataset(
                {"activation": (("image", "channel", "y", "x"), np.concatenate(parts[layer.name]))},
                attrs={
                    "model": self.name,
                    "layer": layer.name,
                    "nonlinearity": layer.nonlinearity,
                },
            )
            for layer in chosen
        }
        return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"model": self.name}), **groups})


class OpenGenerator(OpenModel):
    """A generator of the zoo, with its weights."""

    def sample(
        self,
        images: int,
        seed: int = 0,
        truncation: float = 1.0,
        chosen_class=None,
        latent_bound: float | None = None,
    ) -> xr.Dataset:
        """Latents and images, the same as in a sample set of this seed.

        Args:
            images: How many.
            seed: Of the latents.
            truncation: psi of the family; 1 is none.
            chosen_class: Index or name, or a list of them taken in turn; None: all in turn.
            latent_bound: z is normal within it; None: as its family publishes it.

        Returns:
            `latent`, `image` and, of a generator with classes, `label`.

        Raises:
            ValueError: No such class, or a truncation or a seed that cannot be.
        """
        return samples_of(
            self.loaded,
            self.entry,
            images,
            seed,
            truncation=truncation,
            chosen_class=chosen_class,
            latent_bound=latent_bound,
        )

    def activations(self, samples: xr.Dataset, layers: str | Sequence[str] = "all") -> xr.DataTree:
        """Maps of some layers, a group a layer, while some images are made.

        Args:
            samples: As `sample` returns it, or a sample set of this generator.
            layers: As `layers` takes them.

        Raises:
            ValueError: No layer matches.
        """
        latents = torch.from_numpy(samples["latent"].values)
        labels = torch.from_numpy(samples["label"].values) if "label" in samples else None
        truncation = float(samples.attrs["truncation"])

        def run(block: slice, names: list[str]) -> dict[str, Tensor]:
            of_block = None if labels is None else labels[block]
            return self.loaded.activations(latents[block], names, of_block, truncation)

        return self._maps(layers, len(latents), run)


def images_from(images) -> Tensor:
    """Images as a tensor (image, rgb, y, x) float32 in [0, 1].

    Raises:
        ValueError: They have another shape, or values beyond [0, 1].
    """
    values = images if isinstance(images, Tensor) else torch.from_numpy(np.asarray(images))
    if values.ndim != 4 or values.shape[1] != 3:
        raise UserError(
            f"images have the shape {tuple(values.shape)}; expected (image, rgb, y, x), with 3 "
            "colours. One image is images[None]; (image, y, x, rgb) is transposed by "
            ".transpose(0, 3, 1, 2)."
        )
    values = values.float()
    if len(values) and not (values.min() >= 0 and values.max() <= 1):
        raise UserError(
            f"images have values from {values.min():g} to {values.max():g}; expected 0 to 1. "
            "Divide bytes by 255; the model's own normalisation is applied to them afterwards."
        )
    return values


def open_model(name: str, zoo: str = ZOO, device: str = "cpu") -> OpenModel:
    """Open a model of the zoo with its weights.

    Args:
        name: In the zoo.
        zoo: File with its entry.
        device: "cpu" or "cuda".

    Raises:
        ValueError: There is no such model, or its weights cannot be had or do not fit.

    Example:
        >>> import numpy as np
        >>> import rosetta_steps as rs
        >>> model = rs.open_model("mae-digiface")
        >>> maps = model.activations(np.zeros((2, 3, 64, 64)), ["blocks.0.*"])
        >>> maps["blocks.0.mlp.act"]["activation"].sizes
        Frozen({'image': 2, 'channel': 768, 'y': 16, 'x': 16})
    """
    return OpenModel(name, zoo, device)


def open_generator(name: str, zoo: str = ZOO, device: str = "cpu") -> OpenGenerator:
    """Open a generator of the zoo with its weights.

    Args:
        name: In the zoo.
        zoo: File with its entry.
        device: "cpu" or "cuda".

    Raises:
        ValueError: There is no such generator, or its weights cannot be had or do not fit.

    Example:
        >>> import rosetta_steps as rs
        >>> generator = rs.open_generator("dcgan-digiface")
        >>> samples = generator.sample(2, seed=0)
        >>> generator.activations(samples, ["main.11"])["main.11"]["activation"].shape
        (2, 64, 32, 32)
    """
    entry = find_entry(name, zoo)
    if entry.role != "generator":
        raise UserError(f"{name} is no generator: {zoo} gives it the role '{entry.role}'.")
    return OpenGenerator(name, zoo, device)
