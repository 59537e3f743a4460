"""What clamping a generator's unit does to the units of a model's layer, image by image.

A unit a of the generator is set to its 99 % level in a region of every image, and apart from that
to 0; the rest of the generator makes the picture, and the model runs on it. With the map of a
model's unit b before and after, and its standard deviation over the sample set,

    effect = mean over images of the mean over the region of (b after - b before) / sd(b)

at b's own size, where a cell counts by the share of it that the region covers (Bau et al. 2019 set
units the same way; the controls are those of docs/explanation/evidence.md).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch import Tensor

from rosetta_steps.evidence import low_level
from rosetta_steps.interventions.painting import (
    CLAMP,
    KINDS,
    LEVEL,
    SILENCE,
    Painter,
    Unit,
    coarse,
    picture_change,
    set_in_regions,
)
from rosetta_steps.interventions.regions import Regions, mean_inside, random_regions
from rosetta_steps.maps.resampling import size_of
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.zoo.protocols import ImageModel

CANDIDATE_IMAGES = 10  # on which candidates for the generator's control unit are compared


@dataclass(frozen=True)
class Anchor:
    """A matched pair that is tested.

    Attributes:
        unit: Layer and channel in the generator.
        partner: Layer and channel in the model.
        candidates: Channels of the generator's layer, one of which becomes the control unit.
    """

    unit: Unit
    partner: Unit
    candidates: Sequence[int]


@dataclass(frozen=True)
class Measured:
    """What setting a unit to one level did.

    Attributes:
        inside: Effect on every unit of the partner's layer in the region, (channel).
        outside: Effect on the partner at positions that the region does not touch; NaN: none.
        change: Mean squared change of the picture's pixels.
        control: Channel of the generator's control unit; -1: there is no candidate.
        control_inside: Effect of the control unit on the partner.
        control_change: Its change of the picture.
    """

    _: KW_ONLY
    inside: np.ndarray
    outside: float
    change: float
    control: int
    control_inside: float
    control_change: float


class Experiment:
    """A generator, a model and the pairs that are tested.

    Args:
        painter: The generator, with the latents of the images.
        model: On the generator's device.
        anchors: The pairs.
        deviations: Standard deviation of every unit of each layer of the model over the sample
            set, (channel); NaN of a unit that never varies.
        batch: Images at once.
        progress: Called with a number of images after each pass of the model, and after each that
            compares candidates for a control unit.

    Raises:
        ValueError: A layer of the generator cannot be set.
    """

    def __init__(
        self,
        painter: Painter,
        model: ImageModel,
        anchors: Sequence[Anchor],
        deviations: Mapping[str, np.ndarray],
        *,
        batch: int,
        progress: Callable[[int], object] = lambda _: None,
    ):
        self.painter, self.model, self.anchors = painter, model, anchors
        self.deviations, self.batch, self.progress = deviations, batch, progress
        self.units: dict[str, list[int]] = {}
        for anchor in anchors:
            layer, channel = anchor.unit
            wanted = {*self.units.get(layer, []), channel, *anchor.candidates}
            self.units[layer] = sorted(wanted)
        painter.refuse_layers_that_cannot_be_set(list(self.units))
        self.partner_layers = list(dict.fromkeys(anchor.partner[0] for anchor in anchors))
        self.explained: dict[str, np.ndarray] = {}
        self.level, sizes = self._levels()
        self.regions: dict[str, Regions] = {
            layer: random_regions(painter.images, size) for layer, size in sizes.items()
        }

    def _blocks(self, images: int) -> list[slice]:
        return image_blocks(images, self.batch)

    def _levels(self) -> tuple[dict[Unit, float], dict[str, tuple[int, int]]]:
        values: dict[str, list[np.ndarray]] = {layer: [] for layer in self.units}
        sizes: dict[str, tuple[int, int]] = {}
        for block in self._blocks(self.painter.images):
            maps, _ = self.painter.maps_and_images(block, self.units)
            for layer, of in maps.items():
                values[layer].append(coarse(of))
                sizes[layer] = size_of(of)
        level: dict[Unit, float] = {}
        for layer, parts in values.items():
            quantiles = np.quantile(np.concatenate(parts, 1), LEVEL, axis=1)
            level |= {
                (layer, c): float(q) for c, q in zip(self.units[layer], quantiles, strict=True)
            }
        return level, sizes

    def value(self, unit: Unit, kind: str) -> float:
        """The level to which a unit is set: its 99 % level, or 0."""
        return {CLAMP: self.level[unit], SILENCE: 0.0}[kind]

    def _painted(self, block: slice, unit: Unit, kind: str, maps: Mapping[str, Tensor]) -> Tensor:
        layer, channel = unit
        own = maps[layer][:, self.units[layer].index(channel)]
        inside = self.regions[layer].part(block).mask()
        changed = set_in_regions(own, inside, self.value(unit, kind))
        return self.painter.images_with(block, unit, changed)

    def control_unit(self, anchor: Anchor, kind: str) -> int:
        """The candidate that changes the picture by about as much as the pair's unit; -1: none."""
        if not anchor.candidates:
            return -1
        layer, own = anchor.unit
        channels = [own, *anchor.candidates]
        total = np.zeros(len(channels))
        for block in self._blocks(min(CANDIDATE_IMAGES, self.painter.images)):
            maps, before = self.painter.maps_and_images(block, self.units)
            for place, channel in enumerate(channels):
                after = self._painted(block, (layer, channel), kind, maps)
                total[place] += picture_change(before, after).sum()
                self.progress(len(after))
        return int(channels[1 + np.abs(total[1:] - total[0]).argmin()])

    def run(self) -> list[dict[str, Measured]]:
        """What every pair's unit did, by kind: CLAMP and SILENCE."""
        controls = [
            {kind: self.control_unit(anchor, kind) for kind in KINDS} for anchor in self.anchors
        ]
        sums = [{kind: _Sums() for kind in KINDS} for _ in self.anchors]
        features = {layer: _FeatureSums() for layer in self.partner_layers}
        for block in self._blocks(self.painter.images):
            maps, before = self.painter.maps_and_images(block, self.units)
            of_model = self._model_maps(before, self.partner_layers)
            shown = low_level.features(before.cpu())
            for layer, of in of_model.items():
                features[layer].add(of, low_level.resized(shown, size_of(of)).numpy())
            for anchor, control, own in zip(self.anchors, controls, sums, strict=True):
                for kind in KINDS:
                    units = [anchor.unit[1], control[kind]]
                    for place, channel in enumerate(units):
                        if channel < 0:
                            continue
                        after = self._painted(block, (anchor.unit[0], channel), kind, maps)
                        change = picture_change(before, after)
                        effect = self._effect(anchor, block, of_model, after)
                        own[kind].add(place, anchor.partner[1], change, effect)
        self.explained = {layer: of.explained() for layer, of in features.items()}
        return [
            {kind: own[kind].result(anchor.partner[1], control[kind]) for kind in KINDS}
            for anchor, control, own in zip(self.anchors, controls, sums, strict=True)
        ]

    def _model_maps(self, images: Tensor, layers: Sequence[str]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            found = self.model.activations(images, layers)
        self.progress(len(images))
        return {layer: maps.float().cpu().numpy() for layer, maps in found.items()}

    def _effect(
        self, anchor: Anchor, block: slice, before: Mapping[str, np.ndarray], images: Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        # In the region and at the positions that it does not touch, (image, channel) each.
        layer = anchor.partner[0]
        difference = self._model_maps(images, [layer])[layer] - before[layer]
        difference /= self.deviations[layer][:, None, None]
        regions = self.regions[anchor.unit[0]].part(block)
        coverage = regions.coverage(size_of(difference))
        return mean_inside(difference, coverage), mean_inside(difference, coverage == 0)


def _mean_of_known(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


class _Sums:
    # Values of each image of a pair's unit (place 0) and of its control unit (1).
    def __init__(self):
        self.changes: list[list[np.ndarray]] = [[], []]
        self.inside: list[list[np.ndarray]] = [[], []]
        self.outside: list[np.ndarray] = []

    def add(self, place: int, partner: int, change: np.ndarray, effect: tuple) -> None:
        inside, outside = effect
        self.changes[place].append(change)
        self.inside[place].append(inside)
        if place == 0:
            self.outside.append(outside[:, partner])

    def result(self, partner: int, control: int) -> Measured:
        changes = [np.concatenate(of).mean() if of else np.nan for of in self.changes]
        inside = [np.concatenate(of).mean(0) if of else None for of in self.inside]
        own, other = inside
        assert own is not None, "there is an image"
        return Measured(
            inside=own,
            outside=_mean_of_known(np.concatenate(self.outside)),
            change=float(changes[0]),
            control=control,
            control_inside=np.nan if other is None else float(other[partner]),
            control_change=float(changes[1]),
        )


class _FeatureSums:
    # Sums over images and positions of a layer's units and of low-level features at its size.
    def __init__(self):
        self.count = 0
        self.sums: list[np.ndarray] = []

    def add(self, maps: np.ndarray, features: np.ndarray) -> None:
        both = [
            np.moveaxis(of, 1, 0).reshape(of.shape[1], -1).astype(np.float64)
            for of in (maps, features)
        ]
        units, shown = both
        self.count += units.shape[1]
        parts = (
            units.sum(1), shown.sum(1), np.square(units).sum(1), units @ shown.T, shown @ shown.T,
        )  # fmt: skip
        self.sums = (
            list(parts) if not self.sums else [a + b for a, b in zip(self.sums, parts, strict=True)]
        )

    def explained(self) -> np.ndarray:
        """R^2 of every unit on the features, (unit); 0 of one that never varies here."""
        a, f, aa, af, ff = (of / self.count for of in self.sums)
        deviations = np.sqrt(np.maximum(np.diag(ff) - f * f, 0))
        own = np.sqrt(np.maximum(aa - a * a, 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            between = np.nan_to_num((ff - np.outer(f, f)) / np.outer(deviations, deviations))
            of_units = np.nan_to_num((af - np.outer(a, f)) / np.outer(own, deviations))
        return low_level.explained(of_units, between)
