"""The paper's models without their weights: the layers and units that its code retains."""

import pytest
import yaml
from conftest import ROOT

from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.loading import choose_layers, load

# Model to layers and units of the published code, and parameters of the official file.
PUBLISHED = {
    "stylegan2-lsun-cat": (18, 4882, 30_034_338),
    "stylegan2-lsun-horse": (18, 4882, 30_034_338),
    "stylegan-xl-imagenet256": (33, 26434, 233_375_910),
    "stylegan3-r-afhqv2-512": (16, 10973, 16_665_594),
    "biggan-deep-256": (53, 23296, 55_880_833),
    "resnet50": (4, 3840, 25_557_032),
    "dino-resnet50": (4, 3840, 23_508_032),
    "dino-vitb16": (12, 36864, 85_798_656),
    "dino-vitb8": (12, 36864, 85_807_872),
    "mae-vitb16": (12, 36864, 85_798_656),
    "clip-rn50": (4, 3840, 38_316_896),
}


def published(name):
    entry = find_entry(name)
    model = load(name, entry)
    return model, choose_layers(name, entry, model, "published")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_preset_published_has_the_layers_and_units_of_the_published_code(name):
    layers, units, parameters = PUBLISHED[name]
    model, chosen = published(name)
    assert (len(chosen), sum(layer.channels for layer in chosen)) == (layers, units)
    module = getattr(model, "network", None) or model.module
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


def test_maps_of_stylegan3_are_cut_to_the_image():
    # Its layers work on 10 pixels more on each side, which no discriminative model sees.
    _, chosen = published("stylegan3-r-afhqv2-512")
    sizes = [layer.size[0] for layer in chosen]
    assert sizes == [16, 16, 16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512]


@pytest.mark.parametrize("preset", ["all", "block", "published"])
def test_every_model_of_the_paper_has_every_preset(preset):
    config = yaml.safe_load((ROOT / "config/examples/paper.yaml").read_text())
    names = {
        name
        for chosen in config["sample_sets"].values()
        if "models" in chosen  # others are only inverted
        for name in [chosen["generator"], *chosen["models"]]
    }
    for name in names:
        entry = find_entry(name)
        assert choose_layers(name, entry, load(name, entry), preset)


def test_the_inversion_of_the_paper_inherits_nothing_that_the_paper_does_not_do():
    """Every setting that changes a number stands in paper.yaml itself."""
    paper = yaml.safe_load((ROOT / "config/examples/paper.yaml").read_text())
    default = yaml.safe_load((ROOT / "config/config.yaml").read_text())["inversion"]
    inherited = set(default) - set(paper["inversions"]["imagenet"])
    assert inherited == {"seed", "perceptual_network", "perceptual_size"}
    assert paper["inversions"]["imagenet"]["guidance_fraction"] == 1
