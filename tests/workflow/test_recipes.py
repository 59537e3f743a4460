"""What every artefact follows from, by the config."""

import copy
from pathlib import Path

import pytest
from conftest import ROOT
from own_configs import with_examples

from rosetta_steps.display.drawing import save_figures
from rosetta_steps.display.panels import empty_figure
from rosetta_steps.inversion.figures.frames import empty_canvas, write_animation
from rosetta_steps.storage.manifests import identity_recorded
from rosetta_steps.workflow import recipes as recipes_module
from rosetta_steps.workflow.recipes import FILES, MANIFEST, Recipes, file_of


@pytest.fixture
def recipes(monkeypatch):
    """Recipes of our own config, which reads weights that are in the repository alone."""
    monkeypatch.chdir(ROOT)
    return Recipes(with_examples())


# Of the config, what decides how something is done and never what comes out.
WITHOUT_EFFECT = {
    "correlation": {"memory_gb", "gpus", "gpu_memory_gb", "scheduler"},
    "activations": {"store"},  # decides which of two artefacts there are
}


def identities(config: dict) -> dict[str, str]:
    recipes = Recipes(config)
    name = config["sample_set"]
    everyone = recipes.everyone(name)
    nodes = [("samples", name), ("concepts", name), ("page", name), ("figures", name)]
    nodes += [("visualisations", name)]
    nodes += [(kind, name, m) for kind in ("activations", "stream", "moments") for m in everyone]
    pairs = [(everyone[0], model) for model in everyone]
    nodes += [(kind, name, *pair) for kind in ("correlations", "best_buddies") for pair in pairs]
    kinds = ("evidence", "permutations")
    nodes += [(kind, name, *pair) for kind in kinds for pair in pairs[1:]]
    nodes += [("table", table) for table in config["tables"]]
    nodes += [("arm", one, arm) for one in config["inversions"] for arm in recipes.arms_of(one)]
    nodes += [("edit", edit) for edit in config["edits"]]
    nodes += [("edit_figure", figure) for figure in config["edit_figures"]]
    nodes += [
        (file.split(".")[0], one)
        for one in config["inversions"]
        for file in recipes.figures_of(one)
    ]
    return {file_of(node): recipes._identity(node) for node in nodes}


def changed(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return value[:-1] if value else ["another"]
    return f"{value}-other"


def test_every_setting_that_decides_what_comes_out_is_part_of_an_identity(recipes):
    before = identities(recipes.config)
    sections = ("activations", "correlation", "evidence", "clustering", "figures", "inversion")
    for section in sections:
        for key, value in recipes.config[section].items():
            if key in WITHOUT_EFFECT.get(section, ()) or key in ("arms", "perceptual_network"):
                continue
            config = copy.deepcopy(recipes.config)
            config[section][key] = (
                "nearest"
                if (section, key) == ("correlation", "keep")
                else (changed(value) if key != "metrics" else ["mae-digiface"])
            )
            assert identities(config) != before, f"{section}.{key}"
    for key in ("images", "seed", "layers"):
        config = copy.deepcopy(recipes.config)
        config["sample_sets"]["faces"][key] = "all" if key == "layers" else 7
        assert identities(config) != before, key
    for edit, chosen in recipes.config["edits"].items():
        for key in chosen.keys() - {"matches", "source"}:
            config = copy.deepcopy(recipes.config)
            config["edits"][edit][key] = changed(chosen[key])
            assert identities(config) != before, f"{edit}.{key}"


@pytest.mark.parametrize("section", WITHOUT_EFFECT)
def test_settings_that_decide_how_something_is_done_are_no_part_of_any(recipes, section):
    before = identities(recipes.config)
    for key in WITHOUT_EFFECT[section] & recipes.config[section].keys() - {"store"}:
        config = copy.deepcopy(recipes.config)
        config[section][key] = changed(config[section][key])
        assert identities(config) == before, key


def test_only_what_comes_after_a_setting_follows_from_it(recipes):
    before = identities(recipes.config)
    config = copy.deepcopy(recipes.config)
    config["neighbours"] = 3
    after = identities(config)
    same = {file for file in before if before[file] == after[file]}
    assert FILES["samples"].format(sample_set="faces") in same
    assert all("correlations/" not in file or file in same for file in before)
    assert not any("best_buddies/" in file or "rosetta" in file for file in same)


def test_figures_of_inversions_and_edits_follow_from_the_maps(recipes):
    before = identities(recipes.config)
    config = copy.deepcopy(recipes.config)
    for chosen in config["sample_sets"].values():
        if "seed" in chosen:
            chosen["seed"] += 7
    after = identities(config)
    figures = {file for file in before if file.startswith("results/figures/")}
    assert len(figures) > len(config["edit_figures"])
    assert all(before[file] != after[file] for file in figures)


def test_a_figure_and_an_animation_say_what_they_follow_from(tmp_path):
    save_figures({tmp_path / "figure": empty_figure("nothing")}, "0123456789ab")
    write_animation([empty_canvas("nothing")], tmp_path / "still.webp", 100, "0123456789ab")
    write_animation([empty_canvas("one"), empty_canvas("two")], tmp_path / "x.webp", 100, "ab")
    recorded = [identity_recorded(tmp_path / name) for name in ("figure.png", "still.webp")]
    assert recorded == ["0123456789ab"] * 2
    assert identity_recorded(tmp_path / "x.webp") == "ab"
    (tmp_path / "x.webp").write_bytes(b"RIFF")
    assert identity_recorded(tmp_path / "x.webp") is None


def test_untrained_copies_change_what_is_judged_beside_them_and_nothing_else(recipes):
    name, pair = "faces", ("dcgan-digiface", "efficientnet-lite0")
    before = identities(recipes.config)
    config = copy.deepcopy(recipes.config)
    config["sample_sets"]["faces"]["untrained"] = 2
    other = Recipes(config)
    after = identities(config)
    changed = {file for file in before if before[file] != after[file]}
    judged = {file_of(("evidence", name, pair[0], one)) for one in recipes.others_of(name)}
    assert changed == judged | {FILES["page"].format(sample_set=name)}
    assert other.everyone(name) == recipes.everyone(name)
    copies = other.untrained_of(name, pair[1])
    assert copies == [f"{pair[1]}.untrained-{seed}" for seed in (0, 1)]
    # So evidence of a copy's own pairs can be asked for; copies have no copies.
    assert other.decoys(*pair) == other.decoys(pair[0], copies[0]) > 0
    assert other.untrained_of(name, copies[0]) == []
    assert other.neighbours_kept(pair[0], copies[0]) == config["neighbours"]
    chain = other.chain([file_of(("untrained", name, *pair))])
    assert ("stream", name, copies[0]) in chain and ("activations", name, pair[1]) in chain
    found = [other._identity(("correlations", name, pair[0], one)) for one in copies]
    assert len({*found, other._identity(("correlations", name, *pair))}) == 3


def test_a_target_that_is_not_known_has_no_recipe(recipes):
    assert recipes.stale(["report.html", "results/samples/nothing.zarr.done.json"]) == set()
    chain = recipes.chain(["results/best_buddies/faces/dcgan-digiface--open-nsfw.csv"])
    kinds = sorted(kind for kind, *_ in chain)
    assert kinds == ["activations"] * 2 + ["best_buddies", "correlations"] + ["moments"] * 2 + [
        "samples"
    ]


def test_covariances_are_made_where_evidence_asks_and_another_model_leaves_them_alone(recipes):
    pair = ("faces", "dcgan-digiface", "open-nsfw")
    evidence = file_of(("evidence", *pair)).removesuffix(MANIFEST)
    wanted = ("covariances", "faces", "open-nsfw")
    assert wanted not in recipes.chain([evidence])
    config = copy.deepcopy(recipes.config)
    config["evidence"]["spread"] = True
    asked = Recipes(config)
    assert wanted in asked.chain([evidence])
    before = [asked._identity(node) for node in (wanted, ("evidence", *pair))]
    further = copy.deepcopy(config)
    further["sample_sets"]["faces"]["models"].append("mae-digiface")
    after = [Recipes(further)._identity(node) for node in (wanted, ("evidence", *pair))]
    assert before == after


def test_the_target_of_permutations_asks_for_every_model(recipes):
    chain = recipes.chain(["permutations"])
    models = recipes.config["sample_sets"]["faces"]["models"]
    assert [node[-1] for node in sorted(chain) if node[0] == "permutations"] == sorted(models)
    assert not any(kind == "evidence" for kind, *_ in chain)


def test_several_are_to_be_made_where_two_models_beside_the_first_are_missing(recipes, monkeypatch):
    name, kind, recorded = recipes.config["sample_set"], "activations", {}
    monkeypatch.setattr(recipes_module, "identity_recorded", recorded.get)
    first, *others = [(kind, name, model) for model in recipes.everyone(name)]
    found = []
    for node in (None, *others[:-1], first, others[-1]):
        if node is not None:
            artefact = Path(file_of(node).removesuffix(MANIFEST))
            recorded[artefact] = recipes._identity(node)
        found.append(Recipes(recipes.config).several_stale(kind, name, ["dictionary"]))
    # The last of the others, and the first, are made alone.
    assert found == [True] * (len(others) - 1) + [False, False, False]


def test_what_is_not_asked_for_is_not_made_beside_it(recipes, monkeypatch, tmp_path):
    monkeypatch.setattr(recipes_module, "identity_recorded", lambda artefact: None)
    name = recipes.config["sample_set"]
    first, other, *_ = recipes.everyone(name)
    one = [file_of(("evidence", name, first, other)).removesuffix(MANIFEST)]
    assert not recipes.several_stale("correlations", name, one)
    assert Recipes(recipes.config).several_stale("correlations", name, ["dictionary"])
