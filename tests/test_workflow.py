"""The workflow plans what it should, and refuses a wrong config before any job."""

import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

from rosetta_steps.digest import algorithm


def snakemake(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize("sample_set", ["faces", "faces-quick", "faces-1600", "eyes"])
def test_a_dry_run_plans_the_whole_dictionary(sample_set):
    table = f"results/dictionary/{sample_set}/rosetta.csv"
    planned = snakemake("-n", "--forceall", table)
    assert planned.returncode == 0, planned.stderr
    for rule in ("fetch_weights", "sample", "activations", "moments", "correlate", "concepts"):
        assert f"rule {rule}:" in planned.stdout + planned.stderr


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sample_set=facs", "no sample set 'facs'.*Did you mean 'faces'"),
        ("neighbors=3", "unknown key 'neighbors'.*Did you mean 'neighbours'"),
        ("neighbours=many", "at neighbours: 'many' is not of type 'integer'"),
    ],
)
def test_a_typo_in_the_config_is_refused_by_name(setting, message):
    import re

    refused = snakemake("-n", "--config", setting)
    assert refused.returncode != 0
    assert re.search(message, refused.stdout + refused.stderr, re.DOTALL)


@pytest.mark.parametrize(
    ("sample_set", "message"),
    [
        ({}, "give either a generator or photos"),
        ({"generator": "dcgan-digiface", "photos": "x"}, "give either a generator or photos"),
        ({"generator": "dcgan-digiface", "images": 9}, "a generator needs 'seed' as well"),
        ({"photos": "x"}, "photos need 'size' as well"),
        ({"photos": "x", "size": [8, 8], "seed": 1}, "'seed' says nothing of photos"),
        ({"photos": "x", "size": [8, 8]}, "photos need two models at least"),
        ({"photos": "x", "size": [8]}, r"sample_sets.new.size: \[8\] is too short"),
        (
            {"generator": "open-nsfw", "images": 9, "seed": 0},
            "open-nsfw is a model, not a generato",
        ),
    ],
)
def test_a_sample_set_that_does_not_say_what_its_kind_needs_is_refused(
    sample_set, message, tmp_path
):
    import re

    chosen = {"layers": "all", "models": ["efficientnet-lite0"]} | sample_set
    config = yaml.safe_dump({"sample_sets": {"new": chosen}})
    (tmp_path / "new.yaml").write_text(config)
    refused = snakemake("-n", "--configfile", str(tmp_path / "new.yaml"))
    assert refused.returncode != 0
    assert re.search(message, refused.stdout + refused.stderr, re.DOTALL)


def test_the_papers_experiments_are_planned():
    planned = snakemake("-n", "--forceall", "--configfile", "config/paper.yaml")
    assert planned.returncode == 0, planned.stderr


def test_parsing_the_workflow_does_not_import_torch():
    code = (
        "import sys; sys.argv = ['snakemake', '-n', '--forceall', '--quiet', 'all'];\n"
        "from snakemake.cli import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "assert 'rosetta_steps.digest' in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_digest_follows_the_code_and_not_its_comments(tmp_path, monkeypatch):
    from rosetta_steps import digest

    def of(text):
        (tmp_path / "step.py").write_text(text)
        digest._read.cache_clear()
        return algorithm("step")

    monkeypatch.setattr(digest, "PACKAGE", tmp_path)
    before = of('"""Words."""\nx = 1  # one\n')
    assert of('"""Other words."""\n\nx = 1\n') == before
    assert of("x = 2\n") != before
    digest._read.cache_clear()
