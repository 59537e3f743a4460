"""Models a user brings, mined against each other on photos by entries alone."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import xarray as xr
from PIL import Image
from safetensors.torch import save_file

from rosetta_steps.testing import Project

# A module of the user's own, beside config/.
OWN = """
import torch
from torch import nn

def build(channels):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, channels, 3, 2), nn.ReLU())
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project to which a vision transformer and a function are added by one entry each."""
    project = Project(tmp_path_factory.mktemp("any"))
    project.before = digests(project.folder)
    torch.manual_seed(0)
    vit = timm.create_model("test_vit", pretrained=False)
    save_file(vit.state_dict(), project.folder / "vit.safetensors")
    (project.folder / "own.py").write_text(OWN)
    values = np.random.default_rng(0)
    (project.folder / "photos").mkdir()
    for number in range(6):
        pixels = values.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((200, 160)).save(project.folder / f"photos/{number}.png")
    project.config(
        lambda config: config["sample_sets"].update(
            real={
                "photos": "photos/*.png",
                "size": [96, 64],
                "layers": "all",
                "models": ["vit", "one", "own"],
            }
        )
    )
    project.add("vit", project.entry("timm", "test_vit", "vit"))
    function = {"function": "own:build", "arguments": {"channels": 5}}
    project.add(
        "own",
        project.entry("function", function, None)
        | {
            "weights": {"function": True},
            "preprocessing": {
                "size": [32, 48],
                "interpolation": "bilinear",
                "mean": [0.5, 0.5, 0.5],
                "std": [0.5, 0.5, 0.5],
            },
        },
    )
    project.make("results/dictionary/real/rosetta.csv")
    return project


def digests(folder):
    """The sha256 of every file of workflow/ and rosetta_steps/."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("workflow", "rosetta_steps")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_models_are_mined_on_photos_and_the_first_plays_the_generator(project):
    table = pd.read_csv(project.folder / "results/dictionary/real/rosetta.csv")
    assert len(table) and set(table["generator"]) == {"vit"}
    assert set(table["model"]) == {"one", "own"}


def test_an_added_model_touches_no_other_file(project):
    assert digests(project.folder) == project.before


def test_maps_of_a_transformer_are_folded_to_its_grid_of_patches(project):
    store = xr.open_datatree(project.folder / "results/activations/real/vit.zarr")
    maps = store["blocks.0.mlp.act"]["activation"]
    side = timm.create_model("test_vit").patch_embed.grid_size
    assert maps.sizes["image"] == 6 and (maps.sizes["y"], maps.sizes["x"]) == side


def test_maps_of_a_function_are_those_of_its_module(project):
    images = torch.from_numpy(xr.open_zarr(sample(project))["image"].values)
    store = xr.open_datatree(project.folder / "results/activations/real/own.zarr")
    assert store["1"]["activation"].shape == (6, 5, 15, 23)
    assert images.shape == (6, 3, 96, 64)


def test_changed_code_of_a_function_reruns_its_own_model(project):
    (project.folder / "own.py").write_text(OWN.replace("channels, 3, 2", "channels, 3, 3"))
    planned = project.snakemake("-n", "results/dictionary/real/rosetta.csv")
    assert "results/activations/real/own.zarr" in planned
    assert "results/activations/real/vit.zarr.done.json\n    log" not in planned


def test_photos_that_changed_are_read_again(project):
    (project.folder / "photos/5.png").unlink()
    assert "rule image_folder" in project.snakemake("-n", "results/dictionary/real/rosetta.csv")


def sample(project):
    return project.folder / "results/samples/real.zarr"
