"""An arm with the matches that guided it: its maps, computed again to be looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

from rosetta_steps.display import heatmaps
from rosetta_steps.display.choices import DISTINCT
from rosetta_steps.display.exemplars import Unit
from rosetta_steps.display.reading import unit_ranges
from rosetta_steps.inversion.arms import read_arms
from rosetta_steps.inversion.figures.kept import first_latents, last_latents, settings_of, space_of
from rosetta_steps.inversion.guidance import guidance
from rosetta_steps.inversion.inverter import Inverter
from rosetta_steps.inversion.similarity import Similarity
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset
from rosetta_steps.storage.portable import listed

FIRES = 0.25  # of a unit's greatest value over the mined images: what a shown map reaches
GRID = (32, 32)  # on which target maps are compared


@dataclass(frozen=True)
class Guided:
    """One arm with the matches that guided it, whose maps can be computed again.

    Attributes:
        inverter: With the arm's settings, but without its reconstruction loss.
        targets: Samples store.
        store: Of the arm.
    """

    inverter: Inverter
    targets: xr.Dataset
    store: xr.Dataset

    @property
    def generator(self) -> str:
        """Name of the generator."""
        return self.inverter.generator.name

    @property
    def matches(self) -> pd.DataFrame:
        """A row a pair, in the order of L_act."""
        return self.inverter.matches

    @property
    def layers(self) -> list[str]:
        """Matched layers of the generator."""
        return list(dict.fromkeys(self.matches["generator_layer"]))

    def target_images(self, images: Sequence[int]) -> torch.Tensor:
        """Targets in the generator's size, (image, rgb, y, x)."""
        return self.inverter.resized(self.raw_targets(images))

    def raw_targets(self, images: Sequence[int]) -> torch.Tensor:
        """Targets as they are stored, which is what models are shown."""
        return torch.from_numpy(np.stack([self.targets["image"][i].values for i in images]))

    def target_maps(self, images: Sequence[int]) -> dict[str, dict[str, torch.Tensor]]:
        """Maps (image, channel, y, x) of the models on targets, by model and layer."""
        return self.inverter.target_maps(self.raw_targets(images))

    def generated(
        self, images: Sequence[int], layers: Sequence[str], *, start: bool = False
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The generator's maps and images, from where the kept start began or ended.

        Args:
            images: Numbers.
            layers: Of the generator.
            start: Whether from the random latent that the kept start began with.

        Returns:
            (image, channel, y, x) a layer, and (image, rgb, y, x) in [0, 1].
        """
        space = space_of(self.store, self.inverter.generator, images)
        latents = (first_latents if start else last_latents)(self.store, space, images)
        with torch.no_grad():
            maps, pictures = space.maps_and_images(
                latents, list(layers), images=True, gradients=False
            )
        arrays = {name: of.float().cpu().numpy() for name, of in maps.items()}
        return arrays, pictures.clamp(0, 1).cpu().numpy()

    @cached_property
    def ranges(self) -> dict[Unit, tuple[float, float]]:
        """Least and greatest value of every matched unit over the mined images."""
        units = {
            unit for own, other in map(self.units, self.matches.index) for unit in (own, other)
        }
        return unit_ranges(self.inverter.moments, units)

    def units(self, pair: int) -> tuple[Unit, Unit]:
        """Generator's and model's unit of a pair, by its row of the matches."""
        one = self.matches.loc[pair]
        own = Unit(self.generator, one["generator_layer"], one["generator_channel"])
        return own, Unit(one["model"], one["layer"], one["channel"])

    def similarity(
        self,
        pair: int,
        target_maps: Mapping[str, Mapping[str, torch.Tensor]],
        maps: Mapping[str, np.ndarray],
    ) -> np.ndarray:
        """What one pair adds to L_act, before the mean over pairs, (image)."""
        inverter = self.inverter
        pairs = guidance(
            self.matches.loc[[pair]],
            target_maps,
            inverter.sizes,
            inverter.generator.name,
            inverter.statistics,
        )
        form = Similarity(pairs, inverter.settings.similarity)
        return form({name: torch.from_numpy(of) for name, of in maps.items()}).numpy()


def open_guided(
    targets: Path, store: Path, zoo: str, matches: pd.DataFrame, moments: Mapping[str, Path]
) -> Guided:
    """Open one arm with what guided it.

    Args:
        targets: Samples store.
        store: Of the arm.
        zoo: File with the entries.
        matches: As read_matches returns them.
        moments: Moments stores by name, the generator's among them.

    Raises:
        ValueError: The arm is empty, another generator's, or these matches have not guided it.
    """
    arm = read_arms([store], targets)[0]
    models, pairs = listed(arm.attrs["models"]), int(arm.attrs["pairs"])
    if not pairs:
        raise UserError(
            f"{store} was guided by no matches: a figure of maps needs an arm that was, such as "
            "all.zarr."
        )
    given = list(dict.fromkeys(matches["model"]))
    if set(given) != set(models) or len(matches) != pairs:
        raise UserError(
            f"{store} was guided by {pairs} pairs with {', '.join(models)}; these are "
            f"{len(matches)} with {', '.join(given) or 'no model'}. Give the --models, --buddies, "
            "--neighbours and --min-correlation of the inversion."
        )
    found = open_dataset(store)
    inverter = Inverter(
        arm.attrs["generator"],
        zoo,
        matches,
        dict(moments),
        # To look at, not to go on.
        settings=replace(settings_of(found), reconstruction="none", guidance_fraction=1),
        device=lease(),
    )
    return Guided(inverter, open_dataset(targets), found)


def choose_pairs(
    guided: Guided,
    target_maps: Mapping[str, Mapping[str, torch.Tensor]],
    maps: Mapping[str, np.ndarray],
    count: int,
) -> list[int]:
    """Choose matched pairs that show something on some images, and not the same thing twice.

    In order of correlation, a pair is taken if on at least half of the images both its units reach
    FIRES of their greatest value (the model's on targets, the generator's on results), no unit of
    it is in a pair taken before, and its target map correlates below DISTINCT with theirs; if too
    few do, the strongest of the others are added.

    Args:
        guided: The arm.
        target_maps: Of the images to be shown.
        maps: Of the generator on the results, its matched layers.
        count: How many; fewer are returned if there are fewer pairs.

    Returns:
        Rows of the matches in order of correlation.
    """
    order = guided.matches["correlation"].sort_values(ascending=False, kind="stable").index
    taken: list[int] = []
    planes: list[np.ndarray] = []
    used: set[Unit] = set()
    for pair in order:
        if len(taken) == count:
            break
        own, other = guided.units(pair)
        generated = heatmaps.scale(maps[own.layer][:, own.channel], guided.ranges[own])
        target = heatmaps.scale(plane_of(target_maps, other), guided.ranges[other])
        plane = np.concatenate([heatmaps.resize(one, GRID) for one in target]).ravel()
        plane = plane - plane.mean()
        norm = np.linalg.norm(plane)
        fires = min(np.median(of.max((1, 2))) for of in (generated, target))
        if fires < FIRES or norm == 0 or {own, other} & used:
            continue
        plane = plane / norm
        if all(plane @ before < DISTINCT for before in planes):
            taken.append(pair)
            planes.append(plane)
            used |= {own, other}
    others = [pair for pair in order if pair not in taken]
    chosen = set(taken + others[: count - len(taken)])
    return [int(pair) for pair in order if pair in chosen]


def plane_of(maps: Mapping[str, Mapping[str, torch.Tensor]], unit: Unit) -> np.ndarray:
    """Maps (image, y, x) of one unit of a model, of those of Guided.target_maps."""
    return maps[unit.model][unit.layer][:, unit.channel].float().cpu().numpy()


def shown_range(maps: Sequence[np.ndarray] | np.ndarray, least: float) -> tuple[float, float]:
    """Colour scale of a unit in a figure: from its least value of all to the greatest one shown."""
    return least, float(np.nanmax([np.nanmax(one) for one in maps]))
