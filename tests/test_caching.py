"""What reruns when something changes: a tiny zoo is mined once, the rest are dry runs."""

import re
import shutil
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest
import timm
import torch
import xarray as xr
import yaml
from conftest import ROOT
from safetensors.torch import save_file

from rosetta_steps.zoo.generators.dcgan import DCGAN

ONE_MODEL = {"fetch_weights": 1, "activations": 1, "moments": 1, "correlate": 1, "best_buddies": 1}
DICTIONARY = {"concepts": 1, "dictionary_page": 1, "dictionary_figures": 1}


class Project:
    """A copy of the workflow with a zoo of tiny networks with random weights."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("workflow", "rosetta_steps"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        shutil.copy(ROOT / "environment.yml", folder)
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

    def planned(self):
        """Number of jobs of each rule that a dry run plans."""
        text = self.snakemake("-n", "dictionary")
        rules = re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)
        return {rule: n for rule, n in Counter(rules).items() if rule != "dictionary"}


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A project whose dictionary has been made."""
    project = Project(tmp_path_factory.mktemp("mined"))
    project.snakemake("dictionary", "--cores", "2")
    return project


@pytest.fixture
def project(mined, tmp_path):
    """A copy of it to change."""
    copy = object.__new__(Project)
    copy.folder = tmp_path / "copy"
    shutil.copytree(mined.folder, copy.folder, symlinks=True)
    return copy


def test_the_dictionary_is_there_to_read_and_to_look_at(mined):
    folder = mined.folder / "results/dictionary/tiny"
    assert set(pd.read_csv(folder / "rosetta.csv")["model"]) == {"one"}
    assert (folder / "index.html").stat().st_size > 1000
    maps = xr.open_datatree(mined.folder / "results/activations/tiny/one.zarr")
    assert next(iter(maps.children.values()))["activation"].dims == ("image", "channel", "y", "x")


def test_a_second_run_has_nothing_to_do(project):
    assert project.planned() == {}


def test_a_new_model_runs_its_own_jobs_and_the_dictionary(project):
    project.config(lambda c: c["sample_sets"]["tiny"]["models"].append("two"))
    assert project.planned() == ONE_MODEL | {"plan": 1} | DICTIONARY


def test_a_deleted_plan_is_made_again_and_nothing_else(project):
    (project.folder / "results/plans/tiny.txt").unlink()
    assert project.planned() == {"plan": 1}


def test_a_new_k_reruns_from_best_buddies_on(project):
    project.config(lambda c: c.update(neighbours=3))
    assert project.planned() == {"best_buddies": 2} | DICTIONARY


def test_a_figure_setting_only_redraws(project):
    project.config(lambda c: c["figures"].update(images=2))
    assert project.planned() == {"dictionary_figures": 1}


def test_a_changed_clustering_reruns_the_dictionary(project):
    project.edit("rosetta_steps/clustering.py", "directed=False", "directed=True")
    assert project.planned() == DICTIONARY


def test_another_clustering_reruns_the_dictionary(project):
    project.config(lambda c: c["clustering"].update(method="components"))
    assert project.planned() == DICTIONARY


def test_a_changed_correlation_reruns_it_and_what_depends_on_it(project):
    project.edit("rosetta_steps/correlation.py", "np.clip(r, -1, 1)", "np.clip(r, -1, 0.5)")
    assert project.planned() == {"correlate": 2, "best_buddies": 2} | DICTIONARY


def test_a_changed_comment_or_docstring_reruns_nothing(project):
    project.edit("rosetta_steps/correlation.py", "# Fixed, because", "# Set, because")
    project.edit("rosetta_steps/correlation.py", '"""Correlate every unit', '"""Relate every unit')
    assert project.planned() == {}


def test_an_entry_reruns_only_its_own_model_and_words_in_it_nothing(project):
    project.edit("config/models.yaml", "source: random weights", "source: other words")
    assert project.planned() == {}
    project.edit("config/models.yaml", "path: one.safe", "path: ./one.safe")
    assert project.planned() == ONE_MODEL | {"plan": 1} | DICTIONARY
