"""What a config says of replications and interventions, and what their rules take."""

import copy
import re
from collections import Counter

import pytest
from conftest import ROOT
from own_configs import with_examples
from test_rules import Wildcards

from rosetta_steps.testing import Project
from rosetta_steps.workflow.checking import Checked, check_config, settled
from rosetta_steps.workflow.recipes import Recipes
from rosetta_steps.workflow.rules import Rules

BASE = with_examples()
PAIR = {"a": "dcgan-digiface", "b": "open-nsfw"}
EYES = Wildcards(replication="eyes-blue-to-brown", a="cdcgan-eyes", b="open-nsfw")


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def with_sets(replication, **sets):
    """The ready config with a replication `x`, and sample sets that differ from faces."""
    config = copy.deepcopy(BASE)
    for name, changes in sets.items():
        config["sample_sets"][name] = config["sample_sets"]["faces"] | changes
    config["replications"] = {"x": {"mined": "faces"} | replication}
    return config


def test_a_confirming_set_of_another_seed_alone_is_the_reference_itself():
    recipes = Recipes(BASE)
    assert recipes.compared_with("faces-again") == {"reference": "faces-again"}
    both = {"confirmation": "eyes-brown", "reference": "eyes-blue-again"}
    assert recipes.compared_with("eyes-blue-to-brown") == both
    alone = with_sets({"confirmed": "bound"}, bound={"seed": 9, "latent_bound": 2})
    assert Recipes(alone).compared_with("x") == {"confirmation": "bound"}
    said = with_sets({"confirmed": "other", "reference": "other"}, other={"seed": 9})
    assert Recipes(said).compared_with("x") == {"reference": "other"}


REFUSED = [
    (with_sets({"confirmed": "facs"}), "no sample set 'facs'. Did you mean 'faces'"),
    (with_sets({"confirmed": "faces-heldout"}), "faces-heldout is not mined"),
]


@pytest.mark.parametrize(("config", "words"), REFUSED)
def test_a_replication_of_sample_sets_that_are_not_there_is_refused_before_any_job(config, words):
    with pytest.raises(ValueError, match="at replications.x.confirmed: .*" + words):
        check_config(settled(config))


HELD = [
    (with_sets({"confirmed": "faces"}), "faces and faces have the same images"),
    (with_sets({"confirmed": "faces-1600"}), "faces and faces-1600 have the same images"),
    (with_sets({"confirmed": "eyes"}), "first model of one is dcgan-digiface, of the other cdcgan"),
    (with_sets({"confirmed": "few"}, few={"seed": 9, "images": 19}), "few has 19 images.*20 at"),
    (
        with_sets({"confirmed": "less"}, less={"seed": 9, "models": ["open-nsfw"]}),
        "less is not mined with efficientnet-lite0",
    ),
    (
        with_sets({"confirmed": "deep"}, deep={"seed": 9, "layers": "all"}),
        "other layers, block and all",
    ),
    (
        with_sets(
            {"confirmed": "faces-again", "reference": "bound"},
            bound={"seed": 9, "latent_bound": 2},
        ),
        "faces and bound differ in latent_bound: a reference is of the same distribution",
    ),
    (
        with_sets(
            {"confirmed": "photos"},
            photos={
                "generator": None, "images": None, "seed": None, "photos": "x", "size": [64, 64],
            },
        ),
        "first model of one is dcgan-digiface, of the other efficientnet-lite0",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("config", "words"), HELD)
def test_a_replication_that_cannot_be_is_refused_when_it_is_asked_for(config, words):
    config = settled(config)
    checked = Checked(config)
    checked.everything()  # and not before: faces may get another model
    with pytest.raises(ValueError, match=r"replications\.x\.\w+: .*" + words):
        Rules(config, checked).replication("x")


def test_a_sample_set_that_is_taken_away_takes_its_replications_along():
    config = copy.deepcopy(BASE)
    config["sample_sets"]["eyes-blue-again"] = None
    assert list(settled(config)["replications"]) == ["faces-again"]


def test_the_rules_take_the_mined_set_first_then_one_a_comparison():
    rules = Rules(BASE, Checked(BASE))
    assert rules.comparisons_of(EYES) == ["confirmation", "reference"]
    sets = ["eyes-blue-mined", "eyes-brown", "eyes-blue-again"]
    expected = [f"results/best_buddies/{name}/cdcgan-eyes--open-nsfw.csv" for name in sets]
    assert rules.of_replication("best_buddies")(EYES) == expected
    assert [f.split("/")[2] for f in rules.moments_of_replication("b")(EYES)] == sets
    sums = rules.sums_of_replication(EYES)
    assert [f.split("/")[2] for f in sums] == [name for name in sets for _ in range(2)]
    pairs = rules.replicated_pairs_of(EYES)
    assert [f.rpartition("--")[2] for f in pairs] == ["efficientnet-lite0.csv", "open-nsfw.csv"]
    assert rules.all_replications(None) == ["results/replication/faces-again.png"]


def test_another_model_changes_nothing_of_the_pairs_of_the_others():
    before, config = Recipes(BASE), copy.deepcopy(BASE)
    for name in ("faces", "faces-again"):
        config["sample_sets"][name]["models"].append("mae-digiface")
    after, wildcards = Recipes(config), {"replication": "faces-again", **PAIR}
    same = [of.identity("replicated_pairs", wildcards) for of in (before, after)]
    assert same[0] == same[1]
    assert before.identity("replication", wildcards) != after.identity("replication", wildcards)


@pytest.mark.parametrize(
    ("section", "key", "kinds"),
    [
        ("evidence", "resamples", ["replicated_pairs", "replication"]),
        ("correlation", "similarity", ["replicated_pairs", "replication", "intervention"]),
        ("interventions", "images", ["intervention"]),
        ("interventions", "controls", ["intervention"]),
        ("interventions", "concepts", ["intervention"]),
    ],
)
def test_what_decides_the_numbers_is_part_of_an_identity(section, key, kinds):
    config = copy.deepcopy(BASE)
    config[section][key] = "pearson_without_mean_maps" if key == "similarity" else 123
    wildcards = {"replication": "faces-again", "sample_set": "faces", "model": PAIR["b"], **PAIR}
    for kind in ("replicated_pairs", "replication", "intervention"):
        changed = Recipes(BASE).identity(kind, wildcards) != Recipes(config).identity(
            kind, wildcards
        )
        assert changed == (kind in kinds), kind


def test_interventions_are_of_every_model_that_is_mined_with_a_generator():
    rules = Rules(BASE, Checked(BASE))
    models = BASE["sample_sets"]["faces"]["models"]
    assert rules.all_interventions(None) == [f"results/interventions/faces/{m}.csv" for m in models]
    one = Wildcards(sample_set="faces", model="open-nsfw")
    assert rules.generator_of_intervention(one) == "dcgan-digiface"
    for name in ("mae-digiface", "dcgan-digiface"):
        other = Wildcards(sample_set="faces", model=name)
        with pytest.raises(ValueError, match=f"{name} is not among the models"):
            rules.generator_of_intervention(other)


def test_interventions_on_photos_are_refused_by_name():
    config = copy.deepcopy(BASE)
    photos = {"photos": "x", "size": [64, 64], "layers": "block"}
    config["sample_sets"]["mine"] = photos | {"models": ["open-nsfw", "efficientnet-lite0"]}
    config["sample_set"] = "mine"
    rules = Rules(config, Checked(config))
    with pytest.raises(ValueError, match="sample set mine is of photos: no generator"):
        rules.all_interventions(None)
    assert rules.targets["interventions"] == []


def test_both_targets_plan_their_jobs(tmp_path):
    project = Project(tmp_path)

    def change(config):
        tiny = config["sample_sets"]["tiny"] | {"images": 20}
        config["sample_sets"] = {"tiny": tiny, "again": tiny | {"seed": 1}}
        config["replications"] = {"x": {"mined": "tiny", "confirmed": "again"}}

    project.config(change)
    text = project.snakemake("-n", "replication", "interventions")
    planned = Counter(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    assert planned["replicated_pairs"] == planned["replication_summary"] == 1
    assert planned["image_sums"] == planned["sampling"] == 2
    assert planned["intervention"] == planned["concepts"] == 1
