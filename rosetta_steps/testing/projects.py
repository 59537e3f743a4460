"""Temporary folder with a copy of the workflow and a zoo of tiny networks to run Snakemake in."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

import rosetta_steps
from rosetta_steps.maps.moment_sums import MomentSums
from rosetta_steps.testing.networks import entry_of, write_dcgan, write_timm

CHECKOUT = Path(rosetta_steps.__file__).parents[1]
ON_A_GPU = (
    "sampling",
    "activations",
    "streams",
    "moments",
    "moments_alone",
    "correlation",
    "correlation_and_moments",
    "invert",
    "edit",
)


class Project:
    """A copy of the workflow with a zoo of tiny networks with random weights.

    The zoo has a DCGAN `generator` (images of 16 x 16 pixels) and two timm networks, `one` and
    `two` (test_resnet, images of 64 x 64 pixels). The config has one sample set, `tiny`: eight
    images of the generator, on which all layers of `one` are mined. It has no inversions and no
    edits.

    Args:
        folder: Existing folder to fill.

    Attributes:
        folder: Folder of the project.
        python: Python interpreter that runs Snakemake and its jobs; set it on the class to replace
            it for all projects.

    Raises:
        FileNotFoundError: rosetta_steps was not installed from a checkout (pip install -e).
    """

    python: str | Path = sys.executable

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        # Compiled here once, because otherwise every project compiles it, which takes seconds.
        MomentSums(1, (1, 1)).add(torch.zeros(1, 1, 1, 1))
        for name in ("workflow", "rosetta_steps"):
            # The copy includes the caches of Python and numba.
            shutil.copytree(CHECKOUT / name, self.folder / name)
        torch.manual_seed(0)
        zoo = {"generator": write_dcgan(self._weights("generator"), seed=None)}
        for name in ("one", "two"):
            zoo[name] = write_timm(self._weights(name), seed=None)
        for name, entry in zoo.items():
            entry["weights"] = {"path": f"{name}.safetensors"}
        self.write("config/models.yaml", zoo)
        config = yaml.safe_load((CHECKOUT / "config/config.yaml").read_text())
        chosen = {"generator": "generator", "images": 8, "seed": 0, "layers": "all"}
        config["sample_sets"] = {"tiny": chosen | {"models": ["one"]}}
        config["sample_set"] = "tiny"
        for section in ("inversions", "tables", "edits", "edit_figures", "replications"):
            config[section] = {}
        self.write("config/config.yaml", config)

    def _weights(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def copy(self, folder: Path) -> "Project":
        """Copy the project with all its results to a folder that does not exist yet."""
        shutil.copytree(self.folder, folder, symlinks=True)
        copied = object.__new__(type(self))
        copied.folder = Path(folder)
        return copied

    def entry(self, loader: str, architecture: str | dict, weights: str) -> dict:
        """Return the entry of a model whose weights are a file X.safetensors in the folder.

        Args:
            loader: Name of the loader, such as "timm".
            architecture: Name or keywords of the architecture, as the loader expects.
            weights: Name X of the file without its ending.
        """
        return entry_of(loader, architecture, f"{weights}.safetensors")

    def write(self, file: str, value: object) -> None:
        """Write a value as a YAML file in the folder."""
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(value))

    def add(self, name: str, entry: dict) -> None:
        """Add an entry to the zoo."""
        path = self.folder / "config/models.yaml"
        self.write("config/models.yaml", yaml.safe_load(path.read_text()) | {name: entry})

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text in a file; raise an AssertionError if the file does not contain it."""
        path = self.folder / file
        assert old in path.read_text(), f"{file} has no {old!r}"
        path.write_text(path.read_text().replace(old, new))

    def config(self, change: Callable[[dict], object]) -> None:
        """Change the config: `change` is called with it and modifies it in place."""
        value = yaml.safe_load((self.folder / "config/config.yaml").read_text())
        change(value)
        self.write("config/config.yaml", value)

    def snakemake(self, *arguments: str) -> str:
        """Run Snakemake in the folder.

        Returns:
            Its output.

        Raises:
            AssertionError: Snakemake failed; the message contains its output.
        """
        python = Path(self.python)
        command = [str(python), "-m", "snakemake", *arguments]
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def make(self, *targets: str) -> str:
        """Make targets with two one-core jobs at a time, including jobs that request a GPU."""
        cores = ["--cores", "2", "--resources", "gpu=2", "--set-threads"]
        return self.snakemake(*targets, *cores, *(f"{rule}=1" for rule in ON_A_GPU))

    def planned(self, target: str = "dictionary") -> dict[str, int]:
        """Return the number of jobs of each rule that a dry run plans."""
        text = self.snakemake("-n", target)
        rules = re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)
        return {rule: n for rule, n in Counter(rules).items() if rule != "dictionary"}
