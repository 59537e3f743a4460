"""A copy of the workflow with a zoo of tiny networks, for tests that run Snakemake."""

import re
import shutil
import subprocess
import sys
from collections import Counter

import timm
import torch
import yaml
from conftest import ROOT
from safetensors.torch import save_file

from rosetta_steps.maps.statistics import MomentSums
from rosetta_steps.zoo.generators.dcgan import DCGAN

ON_A_GPU = (
    "sampling",
    "activations",
    "streams",
    "correlation",
    "invert",
    "edit",
)


class Project:
    """A copy of the workflow with a zoo of tiny networks with random weights."""

    def __init__(self, folder):
        self.folder = folder
        MomentSums(1, (1, 1)).add(torch.zeros(1, 1, 1, 1))
        for name in ("workflow", "rosetta_steps"):
            # What numba has compiled comes along: it takes seconds.
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
        torch.manual_seed(0)
        generator = {"latent": 5, "channels": [6, 4]}
        save_file(DCGAN(**generator).state_dict(), folder / "generator.safetensors")
        zoo = {"generator": self.entry("dcgan", generator, "generator") | {"role": "generator"}}
        for name in ("one", "two"):
            module = timm.create_model("test_resnet", pretrained=False)
            save_file(module.state_dict(), folder / f"{name}.safetensors")
            zoo[name] = self.entry("timm", "test_resnet", name)
            zoo[name]["preprocessing"] = {"size": [64, 64]}
        self.write("config/models.yaml", zoo)
        config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
        chosen = {"generator": "generator", "images": 8, "seed": 0, "layers": "all"}
        config["sample_sets"] = {"tiny": chosen | {"models": ["one"]}}
        config["sample_set"] = "tiny"
        for section in ("inversions", "tables", "edits", "edit_figures"):
            config[section] = {}
        self.write("config/config.yaml", config)

    def entry(self, loader, architecture, weights):
        return {
            "role": "model",
            "loader": loader,
            "architecture": architecture,
            "weights": {"path": f"{weights}.safetensors"},
            "source": "random weights",
            "licence": "MIT",
        }

    def write(self, file, value):
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(value))

    def add(self, name, entry):
        """Add an entry to the zoo."""
        path = self.folder / "config/models.yaml"
        self.write("config/models.yaml", yaml.safe_load(path.read_text()) | {name: entry})

    def edit(self, file, old, new):
        path = self.folder / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def config(self, change):
        value = yaml.safe_load((self.folder / "config/config.yaml").read_text())
        change(value)
        self.write("config/config.yaml", value)

    def snakemake(self, *arguments):
        command = [sys.executable, "-m", "snakemake", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def make(self, *targets):
        """Run two jobs at a time of one core each, those that ask for a GPU as well."""
        cores = ["--cores", "2", "--resources", "gpu=2", "--set-threads"]
        return self.snakemake(*targets, *cores, *(f"{rule}=1" for rule in ON_A_GPU))

    def planned(self, target="dictionary"):
        """Number of jobs of each rule that a dry run plans."""
        text = self.snakemake("-n", target)
        rules = re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)
        return {rule: n for rule, n in Counter(rules).items() if rule != "dictionary"}
