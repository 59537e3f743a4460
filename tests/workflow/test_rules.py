"""What rules take, for our own config; and what files of rules may hold."""

import re
from types import SimpleNamespace

import pytest
from conftest import ROOT
from own_configs import with_examples

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.workflow.checking import Checked, settled
from rosetta_steps.workflow.recipes import FILES, MANIFEST
from rosetta_steps.workflow.rules import Rules, manifests_of, names, stores, words_of

RULES_FILES = sorted((ROOT / "workflow/rules").glob("*.smk"))
# Rules of a step whose module has another name, each with the reason.
OTHER_NAMES = {
    "coverage_figure": "rosetta_steps.coverage",  # so is `coverage`
    "own_scores": "rosetta_steps.labelling.own_scores",
    "word_scores": "rosetta_steps.labelling.word_scores",
    "labels_of_units": "rosetta_steps.labels",  # so is `labels`
    "site_folder": "rosetta_steps.site",  # so is `site`
    "bundle_folder": "rosetta_steps.bundle",  # so is `bundle`
    "moments_of_the_pass": "rosetta_steps.moments",  # so is `moments`
    "dictionary_page": "rosetta_steps.dictionary",  # `dictionary` is the target that users type
    "fetch_weights": "rosetta_steps.zoo",  # one of its commands
    "replication_summary": "rosetta_steps.replication",  # so is `replication`
    # In a room, whose name says the rest.
    "invert": "rosetta_steps.inversion.invert",
    "inversion_table": "rosetta_steps.inversion.table",
    "visualise": "rosetta_steps.inversion.visualise",
    "figure_of_arms": "rosetta_steps.inversion.figures.paper",
    "figure_of_maps": "rosetta_steps.inversion.figures.paper",
    "loss_curves": "rosetta_steps.inversion.figures.loss_curves",
    "animation": "rosetta_steps.inversion.figures.animation",
    "edit": "rosetta_steps.editing.edit",
    "edit_figure": "rosetta_steps.editing.figure",
}


class Wildcards(SimpleNamespace):
    """As Snakemake's: attributes, items, and `get`."""

    def __getitem__(self, name):
        return self.__dict__[name]

    def get(self, name, otherwise=None):
        return self.__dict__.get(name, otherwise)


@pytest.fixture
def rules(monkeypatch):
    """Of our own config and its examples."""
    monkeypatch.chdir(ROOT)
    config = settled(with_examples())
    return Rules(config, Checked(config))


FACES = Wildcards(sample_set="faces", model="efficientnet-lite0")
GENERATOR = Wildcards(sample_set="faces", model="dcgan-digiface")


def test_stores_and_tables_lie_beside_their_manifests():
    assert stores(["a/b.zarr.done.json", "c.csv.done.json"]) == ["a/b.zarr", "c.csv"]
    assert manifests_of(lambda _: ["a.csv"])(FACES) == ["a.csv.done.json"]


def test_words_of_a_command_line_are_text_and_options_without_values_are_left_out():
    assert words_of({"--a": [1, 0.5], "--b": [], "--c": ["x"]}) == ["--a", "1", "0.5", "--c", "x"]


def test_a_constraint_takes_names_literally_and_none_matches_nothing():
    assert re.fullmatch(names(["a.b", "c"]), "a.b") and not re.fullmatch(names(["a.b"]), "axb")
    assert not re.fullmatch(names([]), "")


def test_a_sample_set_gives_its_options(rules):
    assert rules.sampling_options(FACES) == ["--truncation", "1.0"]
    assert rules.layer_options(FACES) == ["--layers", "block"]
    assert rules.weights_of_its_generator(FACES) == ["results/weights/dcgan-digiface.txt"]
    assert rules.of_set("seed")(FACES) == rules.config["sample_sets"]["faces"]["seed"]
    assert len(rules.weights_of_the_set(FACES)) == 4
    assert re.fullmatch(rules.sets_with("generator"), "faces")
    assert not re.fullmatch(rules.sets_with("photos"), "faces")


def test_a_model_is_run_or_read_by_what_its_sample_set_keeps(rules):
    source = rules.source_of("model")
    assert source(FACES) == f"results/activations/faces/efficientnet-lite0.zarr{MANIFEST}"
    rules.config["activations"]["store"] = "matched"
    assert source(FACES) == "results/streams/faces/efficientnet-lite0.json"
    assert re.fullmatch(rules.sets_that_store("matched"), "faces")


def test_a_model_stands_on_one_side_of_its_tables(rules):
    assert rules.side_of(GENERATOR) == "a" and rules.side_of(FACES) == "b"
    words = rules.stream_options(FACES, SimpleNamespace(samples=f"s.zarr{MANIFEST}"))
    expected = ["--model", FACES.model, "--zoo", "config/models.yaml", "--samples", "s.zarr"]
    assert words[:6] == expected and "--patterns" in words


def test_an_untrained_copy_runs_with_the_weights_of_its_model_whatever_is_stored(rules):
    rules.config["sample_sets"]["faces"]["untrained"] = 1
    pair = Wildcards(sample_set="faces", a=GENERATOR.model, b=FACES.model)
    (store,) = rules.untrained_of_the_pair(pair)
    copied = f"{FACES.model}.untrained-0"
    assert store == f"results/correlations/faces/{GENERATOR.model}--{copied}.zarr{MANIFEST}"
    own = Wildcards(sample_set="faces", model=copied)
    assert rules.source_of("model")(own) == f"results/streams/faces/{copied}.json"
    assert rules.weights_of_the_model(own) == rules.weights_of_the_model(FACES)
    assert re.fullmatch(rules.sets_that_stream(), "faces")
    assert not re.fullmatch(rules.sets_that_stream(), "faces-quick")
    assert len(rules.untrained_of_everyone(FACES)) == 3
    rules.config["sample_sets"]["faces"]["untrained"] = 0
    assert rules.untrained_of_everyone(FACES) == [] == rules.untrained_of_the_pair(pair)
    assert not re.fullmatch(rules.sets_with("untrained"), "faces")


def test_a_generator_is_in_a_table_with_each_model_and_a_model_in_one(rules):
    assert len(rules.tables_of_its_buddies(GENERATOR)) == 3
    assert rules.tables_of_its_buddies(FACES) == [
        "results/best_buddies/faces/dcgan-digiface--efficientnet-lite0.csv"
    ]


def test_arms_are_guided_by_none_one_or_all_models(rules):
    name = next(iter(rules.config["inversions"]))
    assert rules.buddies_of_guides(Wildcards(inversion=name, arm="reconstruction")) == []
    assert rules.moments_of_guides(Wildcards(inversion=name, arm="reconstruction")) == []
    everyone = rules.guides_of(Wildcards(inversion=name))
    assert rules.guides_of(Wildcards(inversion=name, arm="all")) == everyone
    one = Wildcards(inversion=name, arm=everyone[0])
    assert len(rules.buddies_of_guides(one)) == 1 and len(rules.moments_of_guides(one)) == 2


def test_an_edit_reads_the_latents_of_a_sample_set_or_of_an_arm(rules):
    for edit, chosen in rules.config["edits"].items():
        source = rules.source_of_edit(Wildcards(edit=edit))
        kind = "inversions" if "/" in chosen["source"] else "samples"
        assert source == f"results/{kind}/{chosen['source']}.zarr{MANIFEST}"
        assert "--edit" in rules.edit_options(Wildcards(edit=edit))
        assert len(rules.moments_of_edit(Wildcards(edit=edit))) > 1


def test_targets_are_of_the_sample_set_that_is_asked_for(rules):
    assert all("/faces" in file for file in rules.pages())
    assert "results/inversions/table1.csv" in rules.all_inversions(FACES)
    rules.config["sample_set"] = "eyes"
    files = rules.all_inversions(FACES)
    assert files and not any("faces" in file or "table1" in file for file in files)


def test_targets_that_nothing_is_configured_for_are_refused_with_the_examples(rules):
    rules.config["sample_set"] = "faces-quick"
    for target in (rules.all_inversions, rules.all_edits):
        with pytest.raises(UserError, match="`matches` is faces-quick.*config/examples/"):
            target(FACES)


def test_evidence_takes_covariances_only_where_the_config_asks(rules):
    pair = Wildcards(sample_set="faces", a="dcgan-digiface", b="open-nsfw")
    assert rules.covariances_of_b(pair) == []
    rules.config["evidence"]["spread"] = True
    assert rules.covariances_of_b(pair) == [f"results/covariances/faces/open-nsfw.zarr{MANIFEST}"]
    assert rules.moments_of_the_first(FACES).endswith(f"/dcgan-digiface.zarr{MANIFEST}")
    assert len(rules.all_permutations()) == 3


def test_a_bundle_holds_the_maps_of_the_generator_alone_and_no_path_of_somebody(rules):
    parts = rules.parts_of_bundle(FACES)
    assert f"results/activations/faces/dcgan-digiface.zarr{MANIFEST}" in parts
    assert not [part for part in parts if part.startswith("results/moments/faces/open-nsfw")]
    artefacts = rules.artefacts_of_bundle(FACES, parts)
    assert "results/evidence/faces/units/dcgan-digiface--open-nsfw.csv" in artefacts
    assert "results/dictionary/faces/concepts" in artefacts
    rules.config["activations"]["store"] = "matched"
    assert f"results/matched_maps/faces/dcgan-digiface.zarr{MANIFEST}" in rules.parts_of_bundle(
        FACES
    )
    rules.config["sample_sets"]["faces"]["photos"] = "/home/me/faces"
    assert "/home/me" not in rules.bundle_settings(FACES)


@pytest.mark.parametrize(
    ("key", "value"), [("keep", "nearest"), ("similarity", "pearson_without_mean_maps")]
)
def test_parts_of_correlations_that_have_none_are_refused_before_any_job(rules, key, value):
    assert len(rules.all_parts(Wildcards())) == 3
    rules.config["correlation"][key] = value
    with pytest.raises(UserError, match=f"correlation.{key} is {value}.*Set {key}: "):
        rules.all_parts(Wildcards())


# --- files of rules -------------------------------------------------------------------------------


def bodies():
    for path in RULES_FILES:
        yield from re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.M | re.S)


def test_rules_are_called_as_their_modules_are():
    for rule, body in bodies():
        if step := re.search(r"python -m (rosetta_steps[\w.]*)", body):
            assert step[1] == OTHER_NAMES.get(rule, f"rosetta_steps.{rule}"), rule


def test_files_of_rules_hold_rules_and_calls():
    for path in RULES_FILES:
        text = path.read_text()
        assert "\ndef " not in text or path.name == "common.smk", path.name
    assert len((ROOT / "workflow/rules/common.smk").read_text().splitlines()) < 80


def test_rules_write_the_files_by_which_artefacts_are_known():
    written = set()
    for _, body in bodies():
        outputs = re.search(r"^    output:\n(.*?)(?=^    \w)", body, re.M | re.S)
        written |= set(re.findall(r'"(results/[^"]+)"', outputs[1])) if outputs else set()
    known = {re.sub(r"figure[456]", "{figure}", file) for file in FILES.values()}
    assert known <= written
