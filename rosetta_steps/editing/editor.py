"""Edit the maps of a generator's units, and optimise latents until it makes them (section 4.2).

Eq. 5 with each unit's own edited map as its target. Units that are not edited may keep their own
maps as targets, so that they drift little.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from rosetta_steps.display import heatmaps
from rosetta_steps.editing.direct import replaced
from rosetta_steps.editing.edits import Edit
from rosetta_steps.editing.sources import Source
from rosetta_steps.inversion.choices import UNIT, names_of
from rosetta_steps.inversion.inverter import MOST_AT_ONCE
from rosetta_steps.inversion.latents import Latents
from rosetta_steps.inversion.matches import mean_and_deviation
from rosetta_steps.inversion.memory import Needs, saved_bytes
from rosetta_steps.inversion.objective import TERMS, Objective
from rosetta_steps.inversion.optimisation import optimise
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.inversion.similarity import Pairs, Similarity
from rosetta_steps.maps.resampling import Size, size_of
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.protocols import TorchGenerator

VERSIONS = ("before", "target", "after", "direct")  # of maps
# A map whose edit changes it by less than this share of its unit's deviation stays as it is.
NOTHING = 1e-3
SHOWN = 4  # edited units of an image whose maps are kept to be looked at
FIRES = 0.5  # of a unit's range over the mined images: what the map of a shown unit reaches
HEAT_PIXELS = 64  # a side of these maps, at most

Maps = dict[str, Tensor]


def units_to_edit(
    edited: pd.DataFrame, kept: pd.DataFrame, keep: float, watched: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Units with their weights in L_act.

    Args:
        edited: layer, channel of the units whose maps are edited, the strongest first; each
            weighs 1.
        kept: Of those that are to stay as they are; those that are edited do not count.
        keep: Weight of all that are kept, relative to that of all that are edited.
        watched: Of those that are measured besides, with no weight.

    Returns:
        layer, channel, edited, weight; each unit once, in this order.

    Raises:
        ValueError: keep is negative or not finite.
    """
    if not 0 <= keep < np.inf:
        raise UserError(f"keep: {keep} must be nought or more, finite.")
    parts = [edited.assign(edited=True, weight=1.0), kept.assign(edited=False, weight=np.nan)]
    if watched is not None:
        parts.append(watched.assign(edited=False, weight=0.0))
    parts = [part.astype({"channel": int}) for part in parts if len(part)]
    units = pd.concat(parts).drop_duplicates(UNIT, ignore_index=True)
    others = units["weight"].isna()
    units.loc[others, "weight"] = keep * len(edited) / max(int(others.sum()), 1)
    return units


class Editor:
    """A generator and its units, some of which are edited.

    Args:
        generator: On its device.
        moments: Of the generator.
        units: As units_to_edit returns them.
        edit: What is done to the maps of those that are edited.
        settings: Of the optimisation; reconstruction none.
        start: One of settings.STARTS: where the optimisation begins.

    Raises:
        ValueError: The moments have no such layer, an edited or kept unit never varies, or the
            edit or the settings make no sense.
    """

    def __init__(
        self,
        generator: TorchGenerator,
        moments: xr.DataTree,
        units: pd.DataFrame,
        edit: Edit,
        *,
        settings: Settings,
        start: str,
    ):
        if settings.reconstruction != "none":
            raise UserError(
                "an edit has no image to reconstruct (eq. 5): leave out reconstruction: "
                f"{settings.reconstruction}."
            )
        if settings.starts > 1 and start != "random":
            raise UserError(
                f"{settings.starts} starts from one latent would end alike: give --start random."
            )
        self.generator, self.edit, self.settings, self.start = generator, edit, settings, start
        # By layer, and within it those that count before those that are only watched.
        order = {layer: place for place, layer in enumerate(moments.children)}
        if unknown := sorted(set(units["layer"]) - set(order)):
            raise UserError(
                f"the moments of {generator.name} have no layer {unknown[0]}; they have "
                f"{', '.join(order)}. The matches were mined from other layers: mine again."
            )
        units = units.assign(
            order=units["layer"].map(order), watched=units["weight"] == 0, rank=range(len(units))
        )
        units = units.sort_values(["order", "watched", "channel"], ignore_index=True)
        self.ranks = units["rank"]
        self.units = units.drop(columns=["order", "watched", "rank"])
        self.groups = dict(list(self.units.groupby("layer", sort=False)))
        self.sizes: dict[str, Size] = {}
        self.range: dict[str, list[Tensor]] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.deviation: dict[str, np.ndarray] = {}
        for layer, group in self.groups.items():
            of_layer = moments[layer].to_dataset()
            channels = group["channel"].to_numpy()
            self.sizes[layer] = size_of(of_layer["mean_map"])
            self.range[layer] = [
                torch.tensor(of_layer[name].values[channels]) for name in ("minimum", "maximum")
            ]
            counting = channels[group["weight"] > 0]
            size = self.sizes[layer]
            self.mean[layer], self.deviation[layer] = mean_and_deviation(
                moments, layer, counting, [size]
            )[size]
        edit.check(self.sizes[layer] for layer, group in self.groups.items() if group.edited.any())

    @property
    def edited(self) -> pd.DataFrame:
        """layer, channel of the units that are edited, by layer."""
        return self.units[self.units["edited"]]

    def space(self, source: Source) -> Latents:
        """The space of some latents."""
        return Latents(self.generator, self.settings.space, source.labels, source.truncation)

    def maps(self, space: Latents, latents: Tensor) -> tuple[Maps, Tensor]:
        """Maps of the units by layer, and images (image, rgb, y, x) in [0, 1]."""
        maps, images = space.maps_and_images(latents, list(self.groups), True, gradients=False)
        chosen = {
            layer: maps[layer].float()[:, group["channel"].tolist()]
            for layer, group in self.groups.items()
        }
        return chosen, images.clamp(0, 1)

    def targets(self, before: Maps) -> Maps:
        """Maps that the units are to show: those of the edited ones edited."""
        targets = {}
        for layer, group in self.groups.items():
            chosen = torch.tensor(group["edited"].tolist())
            minimum, maximum = (values[chosen] for values in self.range[layer])
            targets[layer] = before[layer].clone()
            chosen = chosen.to(before[layer].device)
            targets[layer][:, chosen] = self.edit(before[layer][:, chosen], minimum, maximum)
        return targets

    def changed(self, before: Maps, targets: Maps) -> np.ndarray:
        """Whether the edit changes anything on each image, (image)."""
        found = []
        for layer, group in self.groups.items():
            counting = (group["weight"] > 0).tolist()
            away = (targets[layer] - before[layer])[:, counting].square().mean((2, 3)).sqrt()
            found.append((away.cpu().numpy() > NOTHING * self.deviation[layer]).any(1))
        return np.any(found, axis=0)

    def objective(self, targets: Maps) -> Objective:
        """Eq. 5 with each unit's own edited map as its target."""
        pairs = []
        for layer, group in self.groups.items():
            counting = group[group["weight"] > 0]
            if not len(counting):
                continue
            mean, deviation = self.mean[layer], self.deviation[layer]
            pairs.append(
                Pairs(
                    layer=layer,
                    channels=counting["channel"].tolist(),
                    mean=mean,
                    deviation=deviation,
                    size=self.sizes[layer],
                    target=targets[layer][:, : len(counting)],
                    target_mean=mean,
                    target_deviation=deviation,
                    weight=counting["weight"].to_numpy(),
                )
            )
        similarity = Similarity(pairs, self.settings.similarity, self.generator.device)
        return Objective(self.settings, similarity, None)

    def rows_at_once(self, source: Source, memory: float) -> int:
        """Latents optimised at once within a budget in GB."""
        space = self.space(source).of(torch.zeros(1, dtype=torch.long))
        latents = source.latents[:1].to(self.generator.device)
        before = self.maps(space, latents)[0]
        objective = self.objective(self.targets(before))
        latents, row = latents.clone().requires_grad_(), torch.zeros(1, dtype=torch.long)
        row = row.to(self.generator.device)
        needed = saved_bytes(
            lambda: objective(space, latents, space.prior(), row), [self.generator.network]
        )
        kind = torch.device(self.generator.device).type
        guided = objective.similarity
        assert guided is not None, "an edit is of some units"
        # `measure` has the maps of a layer in float64, and their differences.
        maps = [of.nbytes for of in before.values()]
        image = guided.bytes_of_targets + len(VERSIONS) * (sum(maps) + 4 * max(maps))
        needs = Needs(needed, image, guided.bytes_of_pairs)
        return min(needs.rows_at_once(memory), MOST_AT_ONCE[kind])

    def apply(
        self, source: Source, progress: Callable[[int], None] = lambda rows: None
    ) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
        """Edit images, all in one batch.

        Args:
            source: Their latents.
            progress: Told the number of latents after every step.

        Returns:
            before, after, direct (image, rgb, y, x); latent (image, ...); loss (image, step, term);
            failed (image, start); shown (image, shown), names of a few edited units, and of these
            heat_before, heat_target, heat_after, heat_direct (image, shown, y, x), in [0, 1] over
            the unit's range; and the table of `measure`.
        """
        device, starts = self.generator.device, self.settings.starts
        latents, space = source.latents.to(device), self.space(source)
        before, image_before = self.maps(space, latents)
        targets = self.targets(before)
        first = latents[:, None]
        if self.start == "random":
            seed = self.settings.seed
            drawn = [space.random(seed, source.images, start) for start in range(starts)]
            first = torch.stack(drawn, 1)
        rows = torch.arange(len(latents), device=device).repeat_interleave(first.shape[1])
        found = optimise(
            self.objective(targets), space.of(rows), first.flatten(0, 1), rows, progress
        )
        failed = found.failed.reshape(len(latents), -1)
        losses = found.losses.reshape(*failed.shape, *found.losses.shape[1:])
        final = losses[:, :, -1, TERMS.index("total")]
        best = np.argmin(np.where(np.isfinite(final), final, np.inf), axis=1)
        kept = np.arange(len(latents)) * failed.shape[1] + best
        latent = found.latents[torch.from_numpy(kept).to(device)]
        after, image_after = self.maps(space, latent)
        with replaced(self.generator.network, self._edited(targets)):
            direct, image_direct = self.maps(space, latents)
        versions = dict(zip(VERSIONS, (before, targets, after, direct), strict=True))
        arrays = {
            "before": image_before.cpu().numpy(),
            "after": image_after.cpu().numpy(),
            "direct": image_direct.cpu().numpy(),
            "latent": latent.cpu().numpy(),
            "loss": losses[np.arange(len(best)), best],
            "failed": failed,
        }
        arrays["shown"], places = self._shown(before, targets)
        for name, maps in versions.items():
            arrays[f"heat_{name}"] = self._heat(maps, places)
        return arrays, self.measure(source.images, versions)

    def _edited(self, targets: Maps) -> dict[str, tuple[list[int], Tensor]]:
        found = {}
        for layer, group in self.groups.items():
            if group["edited"].any():
                channels = group["channel"][group["edited"]].tolist()
                found[layer] = (channels, targets[layer][:, group["edited"].tolist()])
        return found

    def _shown(self, before: Maps, targets: Maps) -> tuple[np.ndarray, list[list]]:
        # Of each image the first of the edited units, as they were given, that fire before or in
        # the target; those that do not come last.
        candidates = []
        for layer, group in self.groups.items():
            minimum, maximum = (values[:, None, None] for values in self.range[layer])
            high = torch.maximum(before[layer], targets[layer]).cpu()
            peaks = ((high - minimum) / (maximum - minimum)).amax((2, 3)).numpy()
            for place in np.flatnonzero(group["edited"]):
                rank = int(self.ranks[group.index[place]])
                candidates.append((peaks[:, place] < FIRES, rank, layer, int(place)))
        places = []
        for image in range(len(next(iter(before.values())))):
            best = sorted((bool(dim[image]), *rest) for dim, *rest in candidates)[:SHOWN]
            places.append([(layer, place) for _, _, layer, place in best])
        names = [
            [names_of(self.groups[layer].iloc[[place]])[0] for layer, place in of_image]
            for of_image in places
        ]
        return np.array(names), places

    def _heat(self, maps: Maps, places: list[list]) -> np.ndarray:
        # On each unit's own scale of the dataset, at one size for all layers.
        largest = np.max([self.sizes[layer] for layer in self.edited["layer"]], axis=0)
        size = heatmaps.display_size(tuple(largest), min(int(max(largest)), HEAT_PIXELS))
        found = []
        for image, of_image in enumerate(places):
            planes = []
            for layer, place in of_image:
                least, most = (float(values[place]) for values in self.range[layer])
                scaled = heatmaps.scale(maps[layer][image, place].cpu().numpy(), (least, most))
                planes.append(np.clip(heatmaps.resize(scaled, size), 0, 1))
            found.append(planes)
        return np.array(found, np.float32)

    def measure(self, images: list[int], versions: dict[str, Maps]) -> pd.DataFrame:
        """How far maps moved, and how alike they are to before.

        Args:
            images: Their numbers.
            versions: Maps before, target, after and direct.

        Returns:
            A row an image and unit: image, layer, channel, edited, weight; mean_before,
            mean_target, mean_after, mean_direct over positions; the Pearson correlation over
            positions of the map after with that before and with its target, and of the direct
            edit with before (see correlation); and `moved`, 1 - |after - target| /
            |before - target|, the share of the way, NaN where the target is the map before.
        """
        parts = []
        for layer, group in self.groups.items():
            maps = {name: all_of[layer].double().cpu() for name, all_of in versions.items()}
            values = {f"mean_{name}": of.mean((2, 3)) for name, of in maps.items()}
            values["correlation_before"] = correlation(maps["after"], maps["before"])
            values["correlation_target"] = correlation(maps["after"], maps["target"])
            values["correlation_direct"] = correlation(maps["direct"], maps["before"])
            way = (maps["before"] - maps["target"]).square().sum((2, 3)).sqrt()
            left = (maps["after"] - maps["target"]).square().sum((2, 3)).sqrt()
            values["moved"] = torch.where(way > 0, 1 - left / way, torch.nan)
            repeated = group.loc[group.index.repeat(len(images))].reset_index(drop=True)
            repeated.insert(0, "image", np.tile(images, len(group)))
            flat = {name: value.T.flatten().numpy() for name, value in values.items()}
            parts.append(repeated.assign(**flat))
        table = pd.concat(parts, ignore_index=True)
        return table.sort_values("image", kind="stable", ignore_index=True)


def correlation(of: Tensor, reference: Tensor) -> Tensor:
    """Pearson correlation over the positions of maps (image, unit, y, x).

    NaN where the reference is flat: there is nothing to be like. 0 where only the other is: nothing
    of the reference is left.
    """
    a, b = (maps - maps.mean((2, 3), keepdim=True) for maps in (of, reference))
    own, wanted = (maps.square().sum((2, 3)).sqrt() for maps in (a, b))
    found = (a * b).sum((2, 3)) / (own * wanted).clamp_min(1e-30)
    return torch.where(wanted > 1e-6, torch.where(own > 1e-6, found, 0.0), torch.nan)
