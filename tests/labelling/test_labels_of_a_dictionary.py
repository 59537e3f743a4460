"""Labels of the units of a dictionary: as a step, in a workflow, and where they are shown."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import rosetta_steps as rs
from rosetta_steps.display.exemplars import Unit
from rosetta_steps.display.reading import named_units
from rosetta_steps.labelling.scores import write_scores
from rosetta_steps.labelling.settings import Labelling
from rosetta_steps.labelling.table import write_labels
from rosetta_steps.matching.tables import DICTIONARY, LABEL, LABELS, read_labels, write_table
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import ingredients
from rosetta_steps.testing import Project, made, random_maps, write_maps

IMAGES = 60
ROWS = [
    (1, "gan", "layer0", 2, "net", "layer1", 5, 0.8, "layer0:2"),
    (1, "gan", "layer0", 2, "net", "layer0", 1, 0.7, "layer0:2"),
    (2, "gan", "layer0", 0, "net", "layer1", 5, 0.6, "layer0:0"),
]


@pytest.fixture
def inputs(tmp_path):
    """A dictionary of two units of each model, whose maps are stored for some channels alone."""
    shown = xr.Dataset({"image": (("image", "rgb", "y", "x"), np.zeros((IMAGES, 3, 2, 2)))})
    write_dataset(shown, tmp_path / "samples.zarr", made("samples", of={}))
    samples = ingredients([tmp_path / "samples.zarr"])
    maps = {"gan": random_maps(1, IMAGES, (2, 4, 3))}
    maps["net"] = random_maps(2, IMAGES, (2, 2, 2), (1, 5, 5))
    kept = {"gan": {"layer0": [0, 2]}, "net": {"layer0": [1, 7], "layer1": [5]}}
    for name, layers in maps.items():
        origin = made("matched maps", name, of=samples)
        write_maps(tmp_path / f"{name}.zarr", layers, channel_numbers=kept[name], provenance=origin)
    stores = [tmp_path / f"{name}.zarr" for name in maps]
    table = pd.DataFrame(ROWS, columns=list(DICTIONARY))
    write_table(table, tmp_path / "rosetta.csv", made("concepts", "gan", "net", of=samples))
    given = {"table": tmp_path / "rosetta.csv", "samples": tmp_path / "samples.zarr"}
    return given | {"maps": stores}, maps


def scored(inputs, values, labels, name="csv"):
    path = inputs["samples"].with_name(f"{name}.zarr")
    write_scores(values, labels, inputs["samples"], path, source=name, attrs={})
    return path


def test_every_unit_of_a_dictionary_is_held_by_its_mean_over_positions(inputs, tmp_path):
    given, maps = inputs
    unit = maps["net"]["layer1"][:, 0].astype(float).mean((1, 2))
    other = maps["gan"]["layer0"][:, 1].astype(float).mean((1, 2))
    own = scored(given, np.stack([unit, np.arange(IMAGES) % 2], 1), ["own", "even"])
    words = scored(given, -other[:, None], ["not it"], "open_clip")
    output = tmp_path / "labels.csv"
    write_labels(**given, scores=[own, words], output=output, settings=Labelling())
    table = read_labels(output)
    assert list(table) == list(LABELS)
    units = list(table[["model", "layer", "channel"]].itertuples(index=False, name=None))
    of_gan = [("gan", "layer0", 2), ("gan", "layer0", 0)]
    assert units == [*of_gan, ("net", "layer1", 5), ("net", "layer0", 1)]
    found = table.iloc[2]
    assert (found.best_label, found.source, found.verdict) == ("own", "csv", LABEL)
    assert found.score == pytest.approx(1) and found.images == IMAGES // 4
    assert table.iloc[0].best_label != "not it" and (table["verdict"] == LABEL).sum() == 1


def test_labels_of_other_images_are_refused(inputs, tmp_path):
    given, _ = inputs
    scores = scored(given, np.zeros((IMAGES, 1)), ["x"])
    others = xr.Dataset({"image": (("image",), np.ones(IMAGES))})
    write_dataset(others, given["samples"], made("samples", of={}))
    with pytest.raises(ValueError, match="was made of another version of samples on samples than"):
        write_labels(**given, scores=[scores], output=tmp_path / "l.csv", settings=Labelling())


def test_where_no_label_varies_no_unit_has_one(inputs, tmp_path):
    given, _ = inputs
    scores = scored(given, np.ones((IMAGES, 2)), ["x", "y"])
    write_labels(**given, scores=[scores], output=tmp_path / "l.csv", settings=Labelling())
    table = read_labels(tmp_path / "l.csv")
    assert set(table["verdict"]) == {"no label: no label varies"} and set(table["best_label"]) == {
        ""
    }


def test_a_dictionary_without_units_has_no_labels(inputs, tmp_path):
    given, _ = inputs
    origin = made("concepts", "gan", "net", of=ingredients([given["samples"]]))
    write_table(pd.DataFrame(columns=list(DICTIONARY)), given["table"], origin)
    scores = scored(given, np.arange(IMAGES)[:, None], ["x"])
    write_labels(**given, scores=[scores], output=tmp_path / "l.csv", settings=Labelling())
    assert read_labels(tmp_path / "l.csv").empty


def test_labels_and_plain_names_are_shown_with_their_scores_and_no_label_is_not():
    labels = pd.DataFrame(
        [("m", "l", 1, "dog", 0.614, LABEL), ("m", "l", 2, "cat", 0.2, "no label: weak")],
        columns=["model", "layer", "channel", "best_label", "score", "verdict"],
    )
    names = pd.DataFrame(
        [("m", "l", 1, "darkness", -0.7), ("m", "l", 3, "", 0.1), ("m", "l", 4, "red", 0.8)],
        columns=["model", "layer", "channel", "name", "r"],
    )
    assert named_units([labels], [names]) == {
        Unit("m", "l", 1): "dog (r 0.61), darkness (r 0.70)",
        Unit("m", "l", 4): "red (r 0.80)",
    }


MARKUP = "<script>alert('x')</script> & co"
ESCAPED = "&lt;script&gt;alert("


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of tiny networks on 40 images, with a page."""
    project = Project(tmp_path_factory.mktemp("labels"))
    project.config(lambda config: config["sample_sets"]["tiny"].update(images=40))
    project.make("dictionary")
    return project


def test_labels_of_ones_own_are_made_shown_with_their_score_and_rerun_nothing_else(project):
    results = rs.open_results("tiny", project.folder)
    row = results.dictionary.iloc[0]
    maps = results.matched_maps("one")[row["layer"]]["activation"].sel(channel=row["channel"])
    own = maps.astype(np.float64).mean(("y", "x")).to_pandas()
    pd.DataFrame({MARKUP: own}).to_csv(project.folder / "mine.csv", index_label="image")
    project.config(lambda config: config["sample_sets"]["tiny"].update(labels="mine.csv"))
    new = {"own_scores": 1, "labels_of_units": 1}
    assert project.planned("labels") == new | {"labels": 1}
    assert project.planned() == new | {"dictionary_page": 1}
    project.make("dictionary", "site")
    table = results.labels.set_index(["model", "layer", "channel"])
    found = table.loc["one", row["layer"], row["channel"]]
    assert found["best_label"] == MARKUP and found["score"] == pytest.approx(1)
    assert found["verdict"] == LABEL and project.planned("labels") == {}
    page = (project.folder / "results/dictionary/tiny/index.html").read_text()
    assert "<script>alert(" not in page and ESCAPED in page
    shown = re.findall(r"&amp; co( \(r \d\.\d\d\))?", page)
    assert shown and all(shown)  # never without its score
    assert len(table) > page.count(ESCAPED)
    site = project.folder / "results/site/tiny"
    texts = {path: path.read_text() for path in site.rglob("*.html")}
    assert not any("<script>alert(" in text for text in texts.values())
    with_label = {path: text for path, text in texts.items() if ESCAPED in text}
    assert {path.parent.name for path in with_label} >= {"one", "concepts"}
    for text in with_label.values():
        assert all(re.findall(r"&amp; co( \(r \d\.\d\d\))?", text))


def test_another_file_of_labels_is_read_anew_and_a_missing_one_is_refused(project):
    path = project.folder / "mine.csv"
    path.write_text(path.read_text().replace("<script>", "<b>"))
    assert project.planned("labels") == {"own_scores": 1, "labels_of_units": 1, "labels": 1}
    path.unlink()
    with pytest.raises(AssertionError, match="at sample_sets.tiny.labels: mine.csv does not exist"):
        project.planned("labels")


def test_words_of_a_vocabulary_are_scored_after_the_weights_are_there(project):
    project.config(lambda config: config["sample_sets"]["tiny"].pop("labels", None))
    with pytest.raises(AssertionError, match="nothing labels the images of sample set tiny. Give"):
        project.planned("labels")
    clip = {"role": "model", "loader": "open_clip", "architecture": "ViT-B-32-quickgelu"}
    weights = {"path": "one.safetensors"}
    project.add("clip", clip | {"weights": weights, "source": "a test", "licence": "none"})
    (project.folder / "words.txt").write_text("dog\nhot dog\n")
    words = {"vocabulary": "words.txt", "model": "clip"}
    project.config(lambda config: config["labels"].update(words))
    new = {"fetch_weights": 1, "word_scores": 1, "labels_of_units": 1}
    assert project.planned("labels") == new | {"labels": 1}
    (project.folder / "words.txt").write_text("dog\ndog\n")
    with pytest.raises(AssertionError, match="labels.vocabulary: words.txt, line 2: 'dog' is in"):
        project.planned("labels")
