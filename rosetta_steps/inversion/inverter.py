"""An inverter of images: latents optimised block by block, and what is stored of them."""

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from tqdm import tqdm

from rosetta_steps.config.options import options_from
from rosetta_steps.inversion.arms import write_empty
from rosetta_steps.inversion.guidance import (
    bytes_of_guidance,
    guidance,
    ordered,
    statistics_of,
)
from rosetta_steps.inversion.latents import Latents
from rosetta_steps.inversion.matches import NoMatches, layer_of, matches_from, open_moments
from rosetta_steps.inversion.memory import Needs, saved_bytes
from rosetta_steps.inversion.objective import TERMS, Objective, Reconstruction
from rosetta_steps.inversion.optimisation import optimise
from rosetta_steps.inversion.perceptual import distance_of
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.inversion.similarity import Pairs, Similarity
from rosetta_steps.inversion.targets import (
    check_targets,
    image_size,
    refuse_overwriting,
    resized,
)
from rosetta_steps.maps.resampling import size_of
from rosetta_steps.runtime.budgets import image_blocks
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset, write_dataset
from rosetta_steps.storage.digests import digest_of
from rosetta_steps.storage.files import whole_file
from rosetta_steps.storage.manifests import (
    Provenance,
    digest_of_artefact,
    ingredients,
)
from rosetta_steps.storage.pieces import pieces_folder
from rosetta_steps.storage.revisions import revision
from rosetta_steps.zoo.entries import entry_digest, find_entry
from rosetta_steps.zoo.generators.classes import labels
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.origin import origin_of
from rosetta_steps.zoo.protocols import ImageModel
from rosetta_steps.zoo.weights import weights_file

# A processor gains nothing from more at once, and a killed job loses less.
MOST_AT_ONCE = {"cpu": 16, "cuda": 256}


class Inverter:
    """Everything that stays the same from block to block of target images.

    Args:
        generator: Its name.
        zoo: File with the entries.
        matches: As read_matches returns them; empty: reconstruction alone.
        moments: Moments store of the generator and of every model of the matches, by name.
        settings: Of the optimisation.
        device: "cpu" or "cuda".

    Raises:
        ValueError: A model, layer or setting that does not exist, or nothing to optimise for.
    """

    def __init__(
        self,
        generator: str,
        zoo: str,
        matches: pd.DataFrame,
        moments: dict[str, Path],
        *,
        settings: Settings,
        device: str,
    ):
        self.settings, self.device, self.matches = settings, device, ordered(matches)
        self.memory: float | None = None  # budget in GB, known from rows_at_once on
        if not len(matches) and settings.reconstruction == "none":
            raise UserError("no matches and reconstruction: none leave nothing to optimise for.")
        self.entry = find_entry(generator, zoo)
        if self.entry.role != "generator":
            raise UserError(f"{generator} is no generator: images cannot be inverted through it.")
        self.generator = load(generator, self.entry, weights_file(generator, self.entry), device)
        # Digests of all networks that take part, as origin_of gives them.
        self.origin = origin_of(generator, self.entry)
        self.moments = {name: open_moments(path, name) for name, path in moments.items()}
        self.sizes = {
            layer: size_of(layer_of(self.moments[generator], layer)["mean_map"])
            for layer in dict.fromkeys(self.matches["generator_layer"])
        }
        self.statistics = statistics_of(self.matches, self.sizes, generator, self.moments)
        self.models: dict[str, tuple[ImageModel, list[str]]] = {}
        for name, group in self.matches.groupby("model", sort=False):
            entry = find_entry(name, zoo)
            model = load(name, entry, weights_file(name, entry), device)
            self.origin |= origin_of(name, entry)
            self.models[name] = (model, list(dict.fromkeys(group["layer"])))
        self.distance = None
        if settings.reconstruction in ("perceptual", "lpips"):
            name = settings.reconstruction
            name = settings.perceptual_network if name == "perceptual" else name
            self.distance = distance_of(name, zoo, settings.perceptual_size, device)
            if name != "lpips":
                self.origin |= origin_of(name, find_entry(name, zoo))

    def target_maps(self, targets: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
        """Maps of the matched layers on images (image, rgb, y, x) in [0, 1], by model."""
        with torch.inference_mode():
            return {
                name: model.activations(targets, layers)
                for name, (model, layers) in self.models.items()
            }

    def objective(self, targets: torch.Tensor) -> Objective:
        """What is minimised for some target images, (image, rgb, y, x) in [0, 1].

        The models' maps of the targets are computed here, once, of as many images at a time as the
        budget has room for.
        """
        similarity = None
        if len(self.matches):
            together = len(targets)
            if self.memory is not None:
                together = self.needs.prepared_at_once(together, self.memory)
            parts = [
                self._similarity(self._pairs(self.target_maps(targets[block])))
                for block in image_blocks(len(targets), together)
            ]
            similarity = Similarity.joined(parts)
        return Objective(self.settings, similarity, self._reconstruction(targets))

    def resized(self, targets: torch.Tensor) -> torch.Tensor:
        """Images in the generator's own size."""
        return resized(targets, self.image_size)

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """(y, x) of the generator's images."""
        return image_size(self.generator)

    def _pairs(self, maps: dict[str, dict[str, torch.Tensor]]) -> list[Pairs]:
        """The pairs of L_act for target images, from the models' maps of them."""
        return guidance(self.matches, maps, self.sizes, self.generator.name, self.statistics)

    def _similarity(self, pairs: list[Pairs]) -> Similarity:
        return Similarity(pairs, self.settings.similarity, self.device)

    def _reconstruction(self, targets: torch.Tensor) -> Reconstruction | None:
        if self.settings.reconstruction == "none":
            return None
        images = self.resized(targets).to(self.device)
        return Reconstruction(self.settings.reconstruction, images, self.distance)

    @cached_property
    def needs(self) -> Needs:
        """What one latent, and the guidance of one target, need: it follows from shapes alone."""
        row = torch.zeros(1, dtype=torch.long, device=self.device)
        label = row if self.generator.classes else None
        space = Latents(self.generator, self.settings.space, label)
        latents = space.random(0, [0]).requires_grad_()
        target = torch.rand(1, 3, *self.image_size)
        guided, preparing = None, {}
        if len(self.matches):
            maps = self.target_maps(target)
            pairs = self._pairs(maps)
            preparing = bytes_of_guidance(pairs, maps)
            guided = self._similarity(pairs)
            del maps, pairs
        objective = Objective(self.settings, guided, self._reconstruction(target))
        modules = [self.generator.network]
        if self.distance:
            modules.append(self.distance.network)
        kept = saved_bytes(lambda: objective(space, latents, space.prior(), row), modules)
        if guided is None:
            return Needs(kept)
        return Needs(kept, guided.bytes_of_targets, guided.bytes_of_pairs, **preparing)

    def rows_at_once(self, memory: float) -> int:
        """Latents optimised at once within a budget in GB, which `objective` then keeps to.

        Raises:
            ValueError: Not even one fits.
        """
        self.memory = memory
        return min(self.needs.rows_at_once(memory), MOST_AT_ONCE[torch.device(self.device).type])

    def invert(
        self,
        targets: torch.Tensor,
        numbers: Sequence[int],
        classes: torch.Tensor | None,
        at_once: int,
        progress=lambda rows: None,
    ) -> dict[str, np.ndarray]:
        """Invert a block of target images from all starts, and keep the best start of each.

        Args:
            targets: (image, rgb, y, x) in [0, 1].
            numbers: Of the images: their random starts follow from these.
            classes: Class indices (image), where the generator has classes.
            at_once: Latents in a batch.
            progress: Told the number of latents after every step.

        Returns:
            latent (image, ...), image (image, rgb, y, x), loss (image, start, step, term), start
            (image), failed (image, start) and frame (image, frame, ...).
        """
        count, starts = len(numbers), self.settings.starts
        objective = self.objective(targets)
        space = Latents(self.generator, self.settings.space, classes, self.settings.truncation)
        first = [space.random(self.settings.seed, numbers, start) for start in range(starts)]
        # Image by image, its starts side by side.
        latents = torch.stack(first, 1).flatten(0, 1)
        rows = torch.arange(count, device=self.device).repeat_interleave(starts)
        parts = []
        for block in image_blocks(count * starts, at_once):
            chosen = rows[block]
            parts.append(optimise(objective, space.of(chosen), latents[block], chosen, progress))
        losses = np.concatenate([part.losses for part in parts])
        losses = losses.reshape(count, starts, *losses.shape[1:])
        failed = np.concatenate([part.failed for part in parts]).reshape(count, starts)
        final = losses[:, :, -1, TERMS.index("total")]
        best = np.argmin(np.where(np.isfinite(final), final, np.inf), axis=1)
        kept = torch.as_tensor(best, device=self.device) + starts * torch.arange(
            count, device=self.device
        )
        latent = torch.cat([part.latents for part in parts])[kept]
        frames = torch.cat([part.frames for part in parts])[kept]
        images = [
            space.of(torch.arange(count, device=self.device)[block]).pictures(latent[block])
            for block in image_blocks(count, at_once)
        ]
        return {
            "latent": latent.cpu().numpy(),
            "image": torch.cat(images).cpu().numpy(),
            "loss": losses,
            "start": best,
            "failed": failed,
            "frame": frames.cpu().numpy(),
        }


def invert(
    inverter: Inverter,
    targets: Path,
    output: Path,
    *,
    memory: float,
    chosen_class=None,
    attrs: dict | None = None,
    guides: Sequence[Path] = (),
    identity: str | None = None,
) -> None:
    """Invert all images of a sample set; goes on where a killed job stopped.

    Args:
        inverter: With its settings.
        targets: Samples store.
        output: X.zarr to write.
        memory: Budget in GB, from which the number of latents at once follows.
        chosen_class: Of the generator; None: the label of each target.
        attrs: Further attributes of the store.
        guides: Tables of best buddies and moments that guide.
        identity: As Provenance has it.

    Raises:
        ValueError: The targets are no RGB images in [0, 1], or there are none; a class is chosen
            that the generator lacks; or no loss of any image stayed finite.
    """
    samples = open_dataset(targets)
    provenance = arm_of(
        output, list(inverter.models), targets, guides, origin=inverter.origin, identity=identity
    )
    check_targets(targets, samples)
    count, settings = samples.sizes["image"], inverter.settings
    name, entry = inverter.generator.name, inverter.entry
    classes = None
    if chosen_class is not None:
        classes = labels(name, entry, inverter.generator.classes, chosen_class, count)
    elif inverter.generator.classes and "label" in samples:
        classes = samples["label"].values
    at_once = inverter.rows_at_once(memory)
    blocks = image_blocks(count, max(1, at_once // settings.starts))
    scratch = pieces_folder(
        output,
        [
            settings.attrs(),
            at_once,
            inverter.matches.to_csv(),
            entry_digest(entry),
            sorted(provenance.made_of.items()),
            None if classes is None else classes.tolist(),
            revision("inversion.invert"),
        ],
    )
    files = [scratch / f"{index}.npz" for index in range(len(blocks))]
    whole = settings.steps * settings.starts
    with tqdm(total=count * whole, desc=f"inverting {output.stem}", unit="step") as bar:
        for block, file in zip(blocks, files, strict=True):
            if file.is_file():
                bar.update((block.stop - block.start) * whole)
                continue
            found = inverter.invert(
                torch.from_numpy(samples["image"][block].values),
                list(range(block.start, block.stop)),
                None if classes is None else torch.from_numpy(classes[block]),
                at_once,
                bar.update,
            )
            with whole_file(file) as temporary, temporary.open("wb") as opened:
                kept: dict[str, Any] = dict(found)
                np.savez(opened, **kept)
    parts = [np.load(file) for file in files]
    together = {key: np.concatenate([part[key] for part in parts]) for key in parts[0].files}
    report_failures(together["failed"])
    write_dataset(
        dataset_of(together, classes, settings).assign_attrs(
            generator=name,
            generator_digest=entry_digest(entry),
            targets=str(targets),
            targets_digest=digest_of_artefact(targets),
            models=list(inverter.models),
            pairs=len(inverter.matches),
            matches_digest=digest_of(inverter.matches.to_csv(index=False)),
            threads=torch.get_num_threads(),
            at_once=at_once,
            **{"class": "" if chosen_class is None else str(chosen_class)},  # "": the targets'
            **settings.attrs(),
            **(attrs or {}),
        ),
        output,
        provenance,
    )
    shutil.rmtree(scratch)


def arm_of(
    output: Path,
    models: Sequence[str],
    targets: Path,
    guides: Sequence[Path],
    *,
    origin: dict[str, str],
    identity: str | None,
) -> Provenance:
    """Where an arm of an inversion comes from.

    Args:
        output: X.zarr.
        models: Whose matches guide.
        targets: Samples store.
        guides: Tables of best buddies and moments that guide.
        origin: Of the networks that take part, as zoo.origin.origin_of gives it.
        identity: As Provenance has it.

    Raises:
        StoreError: They do not belong together.
    """
    made_of = ingredients([targets, *guides], origin)
    return Provenance(f"arm {output.stem}", models, targets.stem, made_of, identity)


def report_failures(failed: np.ndarray) -> None:
    """Name the images of which a start failed; refuse where all starts of one did.

    Args:
        failed: Step (image, start); -1 where none.

    Raises:
        ValueError: Every image failed at every start.
    """
    for image in np.flatnonzero((failed >= 0).any(1)):
        steps = [int(step) for step in failed[image] if step >= 0]
        print(
            f"image {image}: the loss of {len(steps)} of {failed.shape[1]} starts was not finite "
            f"from step {min(steps)} on; they stopped there.",
            file=sys.stderr,
        )
    if len(failed) and (failed >= 0).all():
        raise UserError(
            f"no loss stayed finite: the first was not at step {int(failed.min())}. Lower "
            "learning_rate or beta, or take a bounded similarity (cosine, pearson, distance)."
        )


def dataset_of(found: dict[str, np.ndarray], classes, settings: Settings) -> xr.Dataset:
    """Results of Inverter.invert as they are stored."""
    axes = {"z": ("latent",), "w": ("component",), "w+": ("layer", "component")}[settings.space]
    variables = {
        "latent": (("image", *axes), found["latent"]),
        "image": (("image", "rgb", "y", "x"), found["image"], {"long_name": "in [0, 1]"}),
        "loss": (
            ("image", "start", "step", "term"),
            found["loss"],
            {
                "long_name": "terms unweighted, and what is minimised",
                "total": "reconstruction + alpha regulariser - beta activation, the last of these "
                f"before step {math.ceil(settings.guidance_fraction * settings.steps)} only",
            },
        ),
        "start": ("image", found["start"], {"long_name": "the best start, which was kept"}),
        "failed": (("image", "start"), found["failed"], {"long_name": "step, -1: none"}),
        "frame": (("image", "frame", *axes), found["frame"], {"long_name": "latents on the way"}),
    }
    if classes is not None:
        variables["label"] = ("image", classes, {"long_name": "class index"})
    return xr.Dataset(variables, {"term": np.array(TERMS)})


def carry_out(a: argparse.Namespace) -> None:
    """Do what a command line asks for."""
    refuse_overwriting(a.output, a.targets, "--targets")
    if a.threads:
        torch.set_num_threads(a.threads)
    try:
        matches, moments = matches_from(a)
    except NoMatches as error:
        if a.without_matches == "refuse":
            raise
        print(error, file=sys.stderr)
        guides = [*a.buddies, *a.moments]
        provenance = arm_of(a.output, a.models, a.targets, guides, origin={}, identity=a.identity)
        return write_empty(a.output, str(error), provenance)
    inverter = Inverter(
        a.generator, a.zoo, matches, moments, settings=options_from(a, Settings), device=lease()
    )
    attrs = {"neighbours": a.neighbours, "min_correlation": a.min_correlation}
    guides = [*a.buddies, *a.moments]
    invert(
        inverter,
        a.targets,
        a.output,
        memory=a.memory_gb,
        chosen_class=a.chosen_class,
        attrs=attrs,
        guides=guides,
        identity=a.identity,
    )
