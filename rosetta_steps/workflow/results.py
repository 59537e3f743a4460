"""The results of a sample set in a notebook: checked, lazy, labelled."""

from pathlib import Path

import pandas as pd
import xarray as xr

from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.tables import read_best_buddies, read_dictionary, read_labels
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset, open_tree
from rosetta_steps.storage.manifests import read_manifest
from rosetta_steps.workflow.recipes import FILES, MANIFEST


class Results:
    """What was made of a sample set. Stores are opened when they are asked for, and checked then.

    Args:
        sample_set: Its name.
        folder: With `results` in it.

    Raises:
        ValueError: Nothing of it is there.
    """

    def __init__(self, sample_set: str, folder: str | Path = "."):
        self.sample_set, self.folder = sample_set, Path(folder)
        if not self._path("samples").exists():
            kept = (self.folder / "results/samples").glob("[!.]*.zarr")
            there = ", ".join(sorted(path.stem for path in kept)) or "none"
            raise UserError(
                f"{self._path('samples')} does not exist. Sample sets in {self.folder}/results: "
                f"{there}. The workflow makes others: snakemake dictionary --cores all "
                f"--config sample_set={sample_set}"
            )

    def __repr__(self) -> str:
        return f"<Results {self.sample_set}: {', '.join(self.models) or 'not mined'}>"

    def _path(self, kind: str, **names: str) -> Path:
        file = FILES[kind].format(sample_set=self.sample_set, **names)
        return self.folder / file.removesuffix(MANIFEST)

    @property
    def models(self) -> list[str]:
        """Generator and models of the dictionary; empty where it is not made."""
        table = self._path("concepts")
        return read_manifest(table)["models"] if table.is_file() else []

    @property
    def samples(self) -> xr.Dataset:
        """Images and, of a generator, latents and labels."""
        return open_dataset(self._path("samples"))

    def activations(self, model: str) -> xr.DataTree:
        """Maps of every unit of a model, a group a layer."""
        return self._maps("activations", model)

    def matched_maps(self, model: str) -> xr.DataTree:
        """Maps of the units that are in best buddies; `channel` has their numbers in the layer."""
        return self._maps("matched_maps", model)

    def _maps(self, kind: str, model: str) -> xr.DataTree:
        path = self._path(kind, model=model)
        MapReader(path)  # checks every file
        return xr.open_datatree(path, engine="zarr", chunks={})

    def moments(self, model: str) -> xr.DataTree:
        """Moments of every unit of a model, a group a layer."""
        return open_tree(self._path("moments", model=model))

    def correlations(self, a: str, b: str) -> xr.Dataset:
        """Correlations of every unit of one model with every unit of another."""
        return open_dataset(self._path("correlations", a=a, b=b))

    def best_buddies(self, a: str, b: str) -> pd.DataFrame:
        """Best buddies of two models, a row a pair."""
        return read_best_buddies(self._path("best_buddies", a=a, b=b), [a, b])

    @property
    def labels(self) -> pd.DataFrame:
        """The best label of every unit of the dictionary; its verdict says whether it is one."""
        return read_labels(self._path("labels"))

    @property
    def dictionary(self) -> pd.DataFrame:
        """Rosetta units and their concepts: a row a unit of the generator and one buddy."""
        return read_dictionary(self._path("concepts"))


def open_results(sample_set: str, folder: str | Path = ".") -> Results:
    """Open the results of a sample set.

    Args:
        sample_set: Its name.
        folder: With `results` in it; the working folder.

    Raises:
        ValueError: Nothing of it is there. Of what is opened later, a StoreError says what is
            missing or damaged.

    Example:
        >>> import rosetta_steps as rs
        >>> results = rs.open_results("tiny")
        >>> results.models
        ['generator', 'one']
        >>> pairs = results.best_buddies("generator", "one")
        >>> layer, channel = pairs.loc[0, ["layer_b", "channel_b"]]
        >>> results.matched_maps("one")[layer]["activation"].sel(channel=channel).dims
        ('image', 'y', 'x')
    """
    return Results(sample_set, folder)
