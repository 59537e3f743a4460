"""The workflow plans what it should, and refuses a wrong config before any job."""

import importlib
import inspect
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
import yaml
from conftest import ROOT
from own_configs import EXAMPLES
from snakemake.report import html_reporter

from rosetta_steps.runtime.slurm import FIRST_LOOK
from rosetta_steps.testing import Project
from rosetta_steps.zoo.entries import check, find_entry
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.generators.classes import class_names
from rosetta_steps.zoo.generators.sample_settings import check_sampling, known_names
from rosetta_steps.zoo.loaders import Family, loaders_of


def snakemake(*arguments, folder=ROOT):
    command = [Project.python, "-m", "snakemake", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("sample_set", ["faces", "faces-quick", "faces-1600", "eyes"])
def test_a_dry_run_plans_the_whole_dictionary(sample_set):
    table = f"results/dictionary/{sample_set}/rosetta.csv"
    planned = snakemake("-n", "--forceall", table, "--configfile", *EXAMPLES)
    assert planned.returncode == 0, planned.stderr
    for rule in ("fetch_weights", "sampling", "activations", "correlation", "concepts"):
        assert f"rule {rule}:" in planned.stdout + planned.stderr


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sample_set=facs", "no sample set 'facs'.*Did you mean 'faces'"),
        ("neighbors=3", "unknown key 'neighbors'.*Did you mean 'neighbours'"),
        ("neighbours=many", "at neighbours: 'many' is not of type 'integer'"),
        (
            'correlation={"memory_gb": 3}',
            "memory_gb: '3' is not of type 'number'. Within --config .* give it in a file",
        ),
    ],
)
def test_a_typo_in_the_config_is_refused_by_name(setting, message):
    refused = snakemake("-n", "--config", setting)
    assert refused.returncode != 0
    assert re.search(message, refused.stdout + refused.stderr, re.DOTALL)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("sample_set: faces\nneighbours: [5\n", "config.yaml is not YAML: .*line 3, column 1"),
        ("sample_set: a\nsample_set: b\n", "'sample_set' stands in line 1 .*Rename or delete one"),
    ],
)
def test_a_config_that_is_no_yaml_is_refused_with_its_line(config, message, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(config)
    snakefile = str(ROOT / "workflow/Snakefile")
    refused = snakemake("-n", "--snakefile", snakefile, folder=tmp_path)
    assert refused.returncode != 0
    assert re.search(message, refused.stdout + refused.stderr, re.DOTALL)


EYES = {"generator": "cdcgan-eyes", "images": 9, "seed": 0}


@pytest.mark.parametrize(
    ("sample_set", "message"),
    [
        ({}, "give either a generator, photos or pictures"),
        ({"generator": "dcgan-digiface", "photos": "x"}, "give either a generator, photos or"),
        ({"generator": "dcgan-digiface", "images": 9}, "a generator needs 'seed' as well"),
        ({"photos": "x"}, "photos need 'size' as well"),
        ({"photos": "x", "size": [8, 8], "seed": 1}, "'seed' says nothing of photos"),
        ({"photos": "x", "size": [8, 8]}, "photos need two models at least"),
        (
            {"photos": "x", "size": [8, 8], "models": None, "layers": None, "store": "matched"},
            "'keep' says which maps are kept, and it has none",
        ),
        ({"photos": "x", "size": [8]}, r"sample_sets.new.size: \[8\] is too short"),
        (
            {"generator": "open-nsfw", "images": 9, "seed": 0},
            "open-nsfw is a model, not a generato",
        ),
        (
            EYES | {"models": ["open-nsfw", "cdcgan-eyes"]},
            "sample set new: cdcgan-eyes is a generator, not a model",
        ),
        (
            EYES | {"models": ["open-nsvw"]},
            "sample set new: no model 'open-nsvw' in config/models.yaml. Did you mean 'open-nsfw'",
        ),
        (
            EYES | {"generator": "cdcgan-eyez"},
            "sample set new: no model 'cdcgan-eyez' in config/models.yaml. Did you mean",
        ),
        (EYES | {"layers": "blok"}, "sample set new: cdcgan-eyes has no layer preset 'blok'"),
        (
            EYES | {"class": ["red", "bleu"]},
            "sample set new: cdcgan-eyes has no class 'bleu'. Did you mean 'blue'",
        ),
    ],
)
def test_a_sample_set_that_does_not_say_what_its_kind_needs_is_refused(
    sample_set, message, tmp_path
):
    chosen = {"layers": "all", "models": ["efficientnet-lite0"]} | sample_set
    chosen = {key: value for key, value in chosen.items() if value is not None}
    config = yaml.safe_dump({"sample_set": "new", "sample_sets": {"new": chosen}})
    (tmp_path / "new.yaml").write_text(config)
    refused = snakemake("-n", "--configfile", str(tmp_path / "new.yaml"))
    assert refused.returncode != 0
    assert re.search(message, refused.stdout + refused.stderr, re.DOTALL)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"models": ["open-nsfw", "open-nsfw"]}, "sample_sets.faces.models: .*non-unique elements"),
        ({"truncation": 1.5}, "faces.truncation: 1.5 is greater than the maximum of 1"),
    ],
)
def test_a_model_named_twice_and_a_truncation_out_of_range_are_refused(setting, message):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["sample_sets"]["faces"] |= setting
    with pytest.raises(ValueError, match=message):
        check(config, "config", "config/config.yaml")


def test_the_papers_experiments_are_planned():
    planned = snakemake("-n", "--forceall", "--configfile", "config/examples/paper.yaml")
    assert planned.returncode == 0, planned.stderr


def rules_of_the_workflow():
    """Name and text of every rule."""
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        yield from re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.M | re.S)


def test_a_rule_that_takes_a_gpu_leaves_that_to_one_word_of_the_config_and_says_its_memory():
    takes = {name: body for name, body in rules_of_the_workflow() if " gpu=" in body}
    assert "correlation" in takes and "invert" in takes
    for name, body in takes.items():
        assert re.search(r" gpu=(lambda w: )?NEEDS\.gpus\(", body), name
        assert "mem_mb=NEEDS.memory(" in body, name
        assert "runtime=NEEDS.minutes(" in body, name


def test_the_profile_for_slurm_asks_for_two_words_and_groups_rules_that_exist():
    text = (ROOT / "workflow/profiles/slurm/config.yaml").read_text()
    profile = yaml.safe_load(text)
    assert re.findall(r"my-\w+", text) == ["my-account", "my-partition"]
    rules = {*dict(rules_of_the_workflow()), "correlation_and_moments"}  # which is another's heir
    assert {one.partition("=")[0] for one in profile["groups"]} <= rules
    assert profile["slurm-init-seconds-before-status-checks"] == FIRST_LOOK
    assert "cores" in profile and "max-threads" in profile


def test_jobs_of_another_machine_ask_for_its_gpu_and_its_cores_whatever_this_one_has():
    pytest.importorskip("snakemake_executor_plugin_slurm")
    table = "results/moments/faces/efficientnet-lite0.zarr.done.json"
    profile = ["--workflow-profile", "workflow/profiles/slurm"]
    planned = snakemake("-n", "--forceall", table, *profile)
    assert planned.returncode == 0, planned.stderr
    (job,) = re.findall(r"rule activations:\n(?: .*\n)+", planned.stdout + planned.stderr)
    assert re.search(r"threads: 8\n", job) and re.search(r"\bgpu=1\b", job), job


def test_parsing_the_workflow_does_not_import_torch():
    code = (
        "import sys; sys.argv = ['snakemake', '-n', '--forceall', '--quiet', 'all',\n"
        "    '--configfile', 'config/examples/paper.yaml']  # names classes of ImageNet\n"
        "from snakemake.cli import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "assert 'rosetta_steps.storage.digests' in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


SETTINGS = [
    ("biggan-deep-256", {"chosen_class": "tensh"}, "has no class 'tensh'. Did you mean 'tench'"),
    ("biggan-deep-256", {"chosen_class": 1000}, "has classes 0 to 999, not 1000"),
    ("biggan-deep-256", {"truncation": 0}, "truncation 0 of biggan-deep-256 is not above 0"),
    ("stylegan2-lsun-cat", {"chosen_class": "tabby"}, "stylegan2-lsun-cat has no classes"),
    ("stylegan2-lsun-cat", {"chosen_class": 0}, "stylegan2-lsun-cat has no classes"),
    ("cdcgan-eyes", {"chosen_class": -1}, "has classes 0 to 7, not -1"),
    ("dcgan-digiface", {"truncation": 0.7}, "leave out truncation: 0.7"),
]


@pytest.mark.parametrize(("name", "asked", "message"), SETTINGS)
def test_what_a_generator_does_not_have_is_known_from_its_entry(name, asked, message):
    with pytest.raises(ValueError, match=message):
        check_sampling(name, find_entry(name), **asked)


def test_what_a_generator_has_is_accepted():
    for name, chosen in [
        ("stylegan-xl-imagenet256", ["Tinca tinca", "999", 7]),
        ("cdcgan-eyes", ["red", 3]),
        ("stylegan2-lsun-cat", None),
    ]:
        truncation = 1 if name == "cdcgan-eyes" else 0
        check_sampling(name, find_entry(name), chosen, truncation)


def test_what_only_its_module_knows_is_left_to_the_sample_job():
    own = Entry("generator", "function", {"function": "a:b"}, Weights(function=True))
    check_sampling("own", own, 10**6, 0.5)
    check_sampling("own", replace(own, classes="imagenet-21k"), "tensh")
    with pytest.raises(ValueError, match="own has no class 'x'. Choices: "):
        check_sampling("own", replace(own, classes=["a", "b"]), "x")


def test_what_is_said_of_families_without_torch_is_what_their_networks_say():
    for name, loader in loaders_of("generator").items():
        if name == "function":
            continue
        module = importlib.import_module(f"rosetta_steps.{loader.module}")
        network = getattr(module, loader.network)
        assert loader.family == Family(
            inspect.signature(network).parameters["classes"].default,
            network.truncates,
            getattr(network, "truncation_scales_z", False),
        )


def test_the_names_of_imagenet_are_those_that_timm_gives():
    entry = find_entry("biggan-deep-256")
    assert known_names(entry) == class_names(entry)


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_a_profile_names_the_stylesheet_of_reports_whose_classes_are_those_of_snakemake(profile):
    folder = ROOT / "workflow/profiles" / profile
    named = yaml.safe_load((folder / "config.yaml").read_text())["report-stylesheet"]
    selector = re.search(r"#app (\.\S+) \{", (folder / named).read_text()).group(1)
    templates = Path(html_reporter.__file__).parent / "template/components"
    around_a_figure = (templates / "content.js").read_text().split("className: ")[1].split('"')[1]
    assert set(selector.split(".")[1:]) <= set(around_a_figure.split())


@pytest.mark.parametrize("caption", ["figure2", "figure3", "table"])
def test_captions_of_a_report_name_a_generator_only_where_there_is_one(caption):
    text = (ROOT / f"workflow/report/{caption}.rst").read_text()

    def of(origin):
        config = {"sample_sets": {"s": origin}, "neighbours": 5}
        config["figures"] = {"concepts": 4, "images": 3}
        known = SimpleNamespace(config=config, wildcards=SimpleNamespace(sample_set="s"))
        return jinja2.Template(text).render(snakemake=known)

    assert "generator" in of({"generator": "g"}) and "first model" not in of({"generator": "g"})
    photos = of({"photos": "p"}).replace("columns ``generator*``", "columns")
    assert "first model" in photos and "generator" not in photos


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "sample_set: 2024\n",
            "mine.yaml, at sample_set: 2024 is not of type 'string'. Put it in q",
        ),
        (
            "sample_sets: {faces: {seed: 18446744073709551616}}\n",
            "mine.yaml, at sample_sets.faces.se",
        ),
        (
            "correlation: {splits: 1000}\n",
            "mine.yaml, at correlation.splits: 1000 splits of the 800",
        ),
        ("clustering: {min_correlation: .nan}\n", "min_correlation: nan is not finite"),
        ("tables: {table1-tests: faces-heldout}\n", "would be the file that stands beside"),
        ("sample_sets: {'{x}': {photos: x, size: [8, 8]}}\n", "no sample set can be called '{x}'"),
        ("sample_sets: {faces: null}\n", "sample set faces was taken away"),
        ("sample_sets: {faces: {photos: x, size: [8, 8]}}\n", "photos .*mine.yaml.*: give either"),
        ("neighbours: 010\n", "mine.yaml: line 1: YAML reads 010 as the number 8"),
    ],
)
def test_a_wrong_config_ends_in_one_line_before_any_job(text, words, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    refused = snakemake("-n", "--configfile", str(tmp_path / "mine.yaml"))
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0 and "Traceback" not in said
    assert re.search(words, said), said


def test_a_sample_set_that_a_target_needs_is_held_against_the_zoo_when_it_is_needed(tmp_path):
    zoo = {name: find_entry(name).to_mapping() for name in ("efficientnet-lite0", "open-nsfw")}
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump(zoo))
    photos = {"photos": str(ROOT / "config/examples/masks"), "size": [8, 8], "layers": "block"}
    config = {
        "zoo": str(tmp_path / "zoo.yaml"),
        "sample_set": "mine",
        "sample_sets": {"mine": photos | {"models": list(zoo)}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    files = ["--configfile", str(tmp_path / "mine.yaml")]
    planned = snakemake("-n", "dictionary", *files)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    refused = snakemake("-n", "results/plans/faces.txt", *files)
    assert refused.returncode != 0
    assert "sample set faces: no model 'dcgan-digiface' in" in refused.stdout + refused.stderr
