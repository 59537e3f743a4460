"""Arms of a comparison: the same images inverted in several ways, with one store for each way."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from rosetta_steps.inversion.settings import Settings
from rosetta_steps.maps.resampling import size_of
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import check_dataset, open_dataset, remove_store
from rosetta_steps.storage.digests import digest_of_files
from rosetta_steps.storage.files import write_json
from rosetta_steps.storage.manifests import (
    Provenance,
    manifest_path,
    read_manifest,
    refuse_not_made_of,
)

OF_MATCHES = ("neighbours", "min_correlation")  # settings without meaning in an arm without matches


ABSENT: Any = None  # value of the arrays of an empty arm


@dataclass(frozen=True)
class Arm:
    """One way of inverting all target images.

    Attributes:
        name: Name of the store without .zarr.
        empty: Reason why nothing was inverted; "" if something was. The following attributes are
            only present in the latter case.
        image: Inverted images, (image, rgb, y, x) in [0, 1], read lazily.
        start: Number of the kept start, (image).
        failed: Step from which the loss was not finite, (image); -1 if there is none.
        loss: Terms of the loss after the last step by name, (image) each; NaN if the image failed.
        attrs: Attributes of the store.
    """

    name: str
    empty: str = ""
    _: KW_ONLY
    image: xr.DataArray = ABSENT
    start: np.ndarray = ABSENT
    failed: np.ndarray = ABSENT
    loss: dict[str, np.ndarray] = ABSENT
    attrs: dict = ABSENT

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its images."""
        return size_of(self.image)


def write_empty(store: Path, reason: str, provenance: Provenance) -> None:
    """Write an empty arm: a manifest with the reason, for a store without files."""
    remove_store(store)
    state = {"files": {}, "digest": digest_of_files(store, []), "empty": reason}
    write_json(manifest_path(store), provenance.state(store) | state)


def why_empty(store: Path) -> str:
    """Return the reason why an arm is empty; "" if it is not.

    Raises:
        StoreError: The arm is not finished or is damaged.
    """
    return read_manifest(check_dataset(store)).get("empty", "")


def nothing_in(stores: Sequence[Path]) -> str:
    """Return the reason why all of some arms are empty; "" if at least one is not.

    Raises:
        StoreError: An arm is not finished or is damaged.
    """
    reasons = {Path(store).stem: why_empty(store) for store in stores}
    if not all(reasons.values()):
        return ""
    return " ".join(f"{name}: {reason}" for name, reason in reasons.items())


def read_arm(store: Path) -> Arm:
    """Read an arm from its store.

    Raises:
        ValueError: The store is not finished, is damaged, or holds no inversions.
    """
    store = Path(store)
    if reason := why_empty(store):
        return Arm(store.stem, reason)
    found = open_dataset(store)
    if missing := [name for name in ("image", "loss", "start", "failed") if name not in found]:
        raise UserError(
            f"{store} holds no inversions: it has no {', '.join(missing)}. Give stores that "
            "python -m rosetta_steps.inversion.invert wrote."
        )
    start = found["start"].values
    images = np.arange(len(start))
    last = found["loss"].isel(step=-1).values[images, start]
    terms = {str(term): last[:, index] for index, term in enumerate(found["term"].values)}
    failed = found["failed"].values[images, start]
    return Arm(
        store.stem,
        "",
        image=found["image"],
        start=start,
        failed=failed,
        loss=terms,
        attrs=dict(found.attrs),
    )


def read_arms(stores: Sequence[Path], targets: Path) -> list[Arm]:
    """Read arms that can be compared: inversions of the same targets by the same generator.

    Args:
        stores: Path of the store of each arm; the name of the store becomes that of the arm.
        targets: Path of the sample set that all arms inverted.

    Raises:
        ValueError: read_arm refuses a store; two arms have the same name; an arm has other targets,
            another number or size of images or another generator; or all arms are empty.
    """
    targets = Path(targets)
    arms = [read_arm(store) for store in stores]
    names = [arm.name for arm in arms]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{len(twice)} arms are called {twice[0]}: rename one of the stores.")
    full = [arm for arm in arms if not arm.empty]
    if not full:
        reasons = "; ".join(f"{arm.name}: {arm.empty}" for arm in arms)
        raise UserError(f"every arm is empty, so there is nothing to compare ({reasons}).")
    refuse_not_made_of(stores, targets)
    count = open_dataset(targets).sizes["image"]
    for arm in full:
        _check(arm, full[0], targets, count)
    return arms


def _check(arm: Arm, first: Arm, targets: Path, count: int) -> None:
    again = "Invert the same targets for every arm."
    if len(arm.start) != count:
        raise UserError(
            f"arm {arm.name} has {len(arm.start)} images, {targets} has {count}: it was written "
            f"anew since. {again}"
        )
    if arm.attrs["generator_digest"] != first.attrs["generator_digest"]:
        raise UserError(
            f"arm {first.name} inverted through {first.attrs['generator']}, arm {arm.name} through "
            f"{arm.attrs['generator']} or another version of it: compare arms of one generator."
        )
    if arm.size != first.size:
        sizes = " and ".join(f"{one.name}: {one.size[0]} x {one.size[1]}" for one in (first, arm))
        raise UserError(f"arms have images of two sizes, {sizes}. {again}")


def other_settings(arms: Sequence[Arm]) -> list[str]:
    """Describe the settings, other than the matches, in which arms differ, for a table's caption.

    Returns:
        Texts such as "steps: 250 (reconstruction), 500 (all)".
    """
    full = [arm for arm in arms if not arm.empty]
    guided = [arm for arm in full if arm.attrs.get("pairs")]
    words = []
    for name in [*(field.name for field in fields(Settings)), "class", *OF_MATCHES]:
        alike = guided if name in OF_MATCHES else full
        values = [arm.attrs.get(name) for arm in alike]
        if any(value != values[0] for value in values):
            pairs = zip(values, alike, strict=True)
            words.append(f"{name}: " + ", ".join(f"{value} ({arm.name})" for value, arm in pairs))
    return words
