"""What a config says of labels is held against its files before any job."""

import pytest
from conftest import ROOT
from own_configs import FILE, laid_over

from rosetta_steps.config.yaml_files import read_yaml
from rosetta_steps.workflow.checking import check_config, settled
from rosetta_steps.workflow.recipes import Recipes


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def words(tmp_path):
    (tmp_path / "words.txt").write_text("dog\ncat\n")
    return {"vocabulary": str(tmp_path / "words.txt"), "model": "clip-vitb32"}


def configured(words=None, **of_faces):
    changes = {"labels": words or {}, "sample_sets": {"faces": of_faces}}
    return settled(laid_over(read_yaml(ROOT / FILE), changes))


def refusal(config):
    with pytest.raises(ValueError) as refused:
        check_config(config)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_vocabulary_and_a_clip_pass_and_labels_follow_from_both(words, tmp_path):
    config = configured(words)
    check_config(config)
    plain, found = Recipes(configured()), Recipes(config)
    faces = {"sample_set": "faces"}
    assert found.label_sources("faces") == ["word_scores"] and not plain.label_sources("faces")
    kinds = ("concepts", "names", "page", "site", "bundle")
    same = {kind: found.identity(kind, faces) == plain.identity(kind, faces) for kind in kinds}
    assert same == {"concepts": True, "names": True, "page": False, "site": False, "bundle": False}
    before = found.identity("labels", faces)
    (tmp_path / "words.txt").write_text("dog\nmouse\n")
    assert Recipes(config).identity("labels", faces) != before
    weaker = Recipes(configured(words | {"min_score": 0.2}))
    assert weaker.identity("word_scores", faces) == Recipes(config).identity("word_scores", faces)
    assert weaker.identity("labels", faces) != Recipes(config).identity("labels", faces)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "labels.vocabulary: a vocabulary needs a model that scores its words"),
        ({"vocabulary": None}, "labels.model: a vocabulary needs a model"),
        ({"vocabulary": "none.txt"}, "labels.vocabulary: none.txt does not exist, or is no file."),
        ({"model": "clip-vitb23"}, "labels.model: no model 'clip-vitb23' in config/models.yaml"),
        ({"model": "resnet50"}, "resnet50 is of the loader timm, which has no text tower."),
        ({"template": "a photo"}, "labels.template: "),
        ({"template": "{} and {}"}, "labels.template: "),
        ({"level": 0}, "labels.level: "),
        ({"min_score": 2}, "labels.min_score: "),
        ({"permutations": 10}, "labels.permutations: "),
    ],
)
def test_words_that_cannot_be_scored_are_refused(words, changes, said):
    assert said in refusal(configured(words | changes))


def test_labels_of_ones_own_are_read_and_counted_before_any_job(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("image,x\n" + "".join(f"{n},{n % 2}\n" for n in range(800)))
    check_config(configured(labels=str(path)))
    path.write_text("image,x\n0,1\n1,0\n")
    config = configured(labels=str(path))
    assert "has rows of 2 images, and faces has 800: every image needs a row" in refusal(config)
    path.write_text("image,x\n0,yes\n")
    assert "sample_sets.faces.labels: " in refusal(config) and "line 2: 'yes'" in refusal(config)


def test_labels_of_images_that_are_not_mined_are_refused():
    config = configured()
    config["sample_sets"]["faces-heldout"]["labels"] = "x.csv"
    assert "'labels' are of units, and it has none" in refusal(config)
