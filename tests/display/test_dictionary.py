"""The dictionary page and the figures, on tiny stores whose every value is known."""

import dataclasses
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from full_disk import full_disk, message_of
from PIL import Image

from rosetta_steps.display import choices, exemplars, figures
from rosetta_steps.display import dictionary as page
from rosetta_steps.display.exemplars import Unit
from rosetta_steps.display.reading import (
    open_dictionary,
    read_maps,
    unit_maxima,
    unit_ranges,
)
from rosetta_steps.evidence.untrained import table_of
from rosetta_steps.matching.concepts import COLUMNS
from rosetta_steps.matching.identity import concept_ids
from rosetta_steps.matching.tables import (
    EVIDENCE,
    NAMES,
    NUMBER,
    UNTRAINED,
    table_of_units,
    write_table,
)
from rosetta_steps.storage.datasets import write_dataset
from rosetta_steps.storage.manifests import ingredients
from rosetta_steps.testing import made, write_maps

IMAGES = 12
GENERATOR = "tiny-gan"
SIZES = {
    GENERATOR: {"main.2": (6, 4), "main.5": (5, 8)},
    "model-a": {"blocks.1.act": (7, 8), "5": (4, 4)},  # a layer whose name is a number
    "model-b": {"Relu_1": (6, 6)},
}
# concept, generator layer and channel, model, layer, channel, correlation
ROWS = [
    (1, "main.5", 3, "model-a", "blocks.1.act", 6, 0.80),
    (1, "main.5", 3, "model-a", "5", 1, 0.70),
    (1, "main.5", 3, "model-b", "Relu_1", 2, 0.60),
    (1, "main.2", 0, "model-a", "blocks.1.act", 6, 0.85),
    (1, "main.2", 0, "model-b", "Relu_1", 5, 0.40),
    (2, "main.2", 4, "model-a", "5", 3, 0.55),
    (2, "main.2", 4, "model-b", "Relu_1", 0, 0.45),
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Paths of samples, activations and moments."""
    tmp_path = tmp_path_factory.mktemp("stores")
    random = np.random.default_rng(0)
    images = random.random((IMAGES, 3, 16, 16), dtype=np.float32)
    samples = xr.Dataset(
        {"image": (("image", "rgb", "y", "x"), images)},
        attrs={"generator": GENERATOR, "seed": 7, "truncation": 0.5},
    )
    write_dataset(samples, tmp_path / "samples.zarr", made("samples", of={}))
    made_of = ingredients([tmp_path / "samples.zarr"])
    paths = {"maps": [], "moments": []}
    for model, layers in SIZES.items():
        maps, statistics = {}, {}
        for layer, (channels, size) in layers.items():
            values = random.gamma(1.0, 1.0, (IMAGES, channels, size, size)).astype(np.float16)
            # maxima over positions, and with them the order of the images, are known
            values = np.minimum(values, 4.0)
            values[:, :, 1, 1] = 5.0 + np.arange(IMAGES, dtype=np.float16)[:, np.newaxis]
            maps[layer] = values
            statistics[layer] = xr.Dataset(
                {
                    "minimum": ("channel", values.min(axis=(0, 2, 3))),
                    "maximum": ("channel", values.max(axis=(0, 2, 3))),
                }
            )
        store = tmp_path / "activations" / f"{model}.zarr"
        write_maps(store, maps, 5, provenance=made("activations", model, of=made_of))
        tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"model": model}), **statistics})
        measured = tmp_path / "moments" / f"{model}.zarr"
        write_dataset(tree, measured, made("moments", model, of=ingredients([store])))
        paths["maps"].append(store)
        paths["moments"].append(measured)
    return {"samples": tmp_path / "samples.zarr", **paths}


def write_rosetta(table, path, activations):
    write_table(table, path, made("dictionary", *SIZES, of=ingredients(activations)))


@pytest.fixture
def inputs(stores, tmp_path):
    """The stores and a table, which a test may change."""
    rows = [(row[0], GENERATOR, *row[1:]) for row in ROWS]
    table = pd.DataFrame(rows, columns=COLUMNS[:-1]).assign(concept_id=concept_ids)
    write_rosetta(table, tmp_path / "rosetta.csv", stores["maps"])
    return {"table": tmp_path / "rosetta.csv", **stores}


# Zarr warns that consolidated metadata, which finished stores have, is not in its specification.
pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata")


@pytest.fixture
def opened(inputs):
    return open_dictionary(**inputs)


@pytest.fixture
def empty(inputs):
    write_rosetta(pd.DataFrame(columns=COLUMNS), inputs["table"], inputs["maps"])
    return open_dictionary(**inputs)


def evidence_table(model, verdicts):
    """Evidence of the pairs of a model, whose numbers do not matter here."""
    rows = [row for row in ROWS if row[3] == model]
    table = pd.DataFrame(
        {name: [np.nan] * len(rows) if kind == NUMBER else "" for name, kind in EVIDENCE.items()}
    )
    for side, place in (("a", 1), ("b", 4)):
        table[f"layer_{side}"] = [row[place] for row in rows]
        table[f"channel_{side}"] = [row[place + 1] for row in rows]
    table["correlation"] = [row[6] for row in rows]
    return table.assign(where=0.1, amount=0.2, place=0.3, low=0.25, verdict=verdicts)


def write_evidence(path, model, verdicts, inputs):
    """As the step does: the evidence of pairs, and that of units beside it."""
    made_of = ingredients(inputs["maps"])
    table = evidence_table(model, verdicts)
    units = table[["layer_a", "channel_a"]].drop_duplicates().set_axis(["layer", "channel"], axis=1)
    of_units = made("evidence of units", GENERATOR, model, of=made_of)
    write_table(units.assign(left=0.5, p=0.01), table_of_units(path), of_units)
    write_table(table, path, made("evidence", GENERATOR, model, of=made_of))


@pytest.fixture
def with_evidence(inputs, tmp_path):
    """The same inputs, with evidence: of concept 2 one pair fails a test."""
    verdicts = {
        "model-a": ["2 of 2", "1 of 2: low level", "2 of 2", "2 of 2"],
        "model-b": ["2 of 2", "2 of 2", "0 of 2: low level, where only"],
    }
    paths = []
    for model, of_model in verdicts.items():
        paths.append(tmp_path / f"{model}.csv")
        write_evidence(paths[-1], model, of_model, inputs)
    return open_dictionary(**inputs, evidence=paths)


# One that would be a formula, one too long to be shown whole, and one for no font of ours.
FILES = [f"day/{number}.jpg" for number in range(IMAGES - 3)]
FILES += ["月.png", "night/a$b$ <c>.png", "night/" + "long " * 20 + "name.png"]


@pytest.fixture
def of_photos(opened):
    """The same stores, of photos of which two could not be read."""
    photos = opened.samples.load().assign(file=("image", FILES))
    reasons = ["x.jpg: the file is empty", "<y>.jpg: no image"]
    photos.attrs = {"images": ["photos"], "unreadable": reasons}
    return dataclasses.replace(opened, samples=photos)


class Page(HTMLParser):
    """Sections, pictures, links and open tags of a page."""

    def __init__(self, path):
        super().__init__()
        self.sections, self.pictures, self.references, self.open = [], [], [], []
        self.feed(path.read_text())
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in ("img", "meta", "input", "wbr"):
            self.open.append(tag)
        if tag == "section":
            self.sections.append(attrs["id"])
        if tag == "img":
            self.pictures.append(attrs)
        self.references += [attrs[name] for name in ("src", "href") if name in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_has_a_section_for_every_concept_and_all_its_pictures(opened, tmp_path):
    output = tmp_path / "page" / "index.html"
    page.write_page(opened, output)
    read = Page(output)
    assert read.open == []
    assert read.sections == ["concept-main.5:3", "concept-main.2:4"]
    # 6 examples x (image, generator, 2 models) a concept, a link to each concept, the colour key
    assert len(read.pictures) == 2 * 6 * 4 + 2 + 1
    for picture in read.pictures:
        assert picture["alt"]
        with Image.open(output.parent / picture["src"]) as image:
            image.load()
            if picture["src"] != page.KEY:
                assert image.size == (128, 128)
    shown = {picture["src"] for picture in read.pictures}
    on_disk = {f"concepts/{path.name}" for path in (output.parent / "concepts").iterdir()}
    assert shown == on_disk


def test_pairs_that_fail_a_test_have_a_badge_and_can_be_filtered(with_evidence, tmp_path):
    page.write_page(with_evidence, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    first, second = text.split('<section class="concept"')[1:]
    # Of the first concept the pairs shown are main.2/0 with model-a and model-b.
    assert 'data-failed=""' in first and 'class="badge"' not in first.partition("<details")[0]
    assert 'data-failed="low level|where only"' in second
    assert second.count('class="badge"') == 2 and "passes 0 of 2 tests" in second
    assert "1 of 2: low level" in first  # in the table of all its pairs
    assert "<option value='fails low level'>" in text
    assert "Pass every test" in text and "5 of 7 pairs, 2 Rosetta units, 1 concept" in text
    assert '<a href="trust.html">' in text


def test_one_page_says_what_survives_each_test(with_evidence, tmp_path):
    page.write_page(with_evidence, tmp_path / "index.html")
    text = (tmp_path / "trust.html").read_text()
    assert "Of 7 best buddies 5 pass every test" in " ".join(text.split())
    assert "2 of 3 Rosetta units and 1 of\n2 concepts" in text
    assert "Not made: not above chance, where only, low level" in text
    assert "units with a match above chance, 5% false at most" in text


def test_the_page_on_trust_compares_models_with_their_untrained_copies(
    inputs, with_evidence, tmp_path
):
    trained = {"K = 1: pairs above r = 0.3": 40, "K = 1: strongest r": 0.75, "units": 9}
    copies = [
        {"K = 1: pairs above r = 0.3": n, "K = 1: strongest r": r, "units": 9}
        for n, r in ((8, 0.5), (10, 0.25))
    ]
    table = table_of(trained, {f"model-a.untrained-{n}": one for n, one in enumerate(copies)})
    path = tmp_path / "untrained.csv"
    provenance = made("untrained", GENERATOR, "model-a", of=ingredients(inputs["maps"]))
    write_table(table[list(UNTRAINED)], path, provenance)
    opened = open_dictionary(**inputs, untrained=[path])
    shown = dataclasses.replace(with_evidence, untrained=opened.untrained)
    page.write_page(shown, tmp_path / "index.html")
    text = " ".join((tmp_path / "trust.html").read_text().split())
    assert "<h3>model-a</h3>" in text and "<h3>model-b</h3>" not in text
    assert "2 untrained copies: mean (range)" in text and "units</th>" not in text.split("<h3>")[1]
    assert "0.750" in text and "0.375 <small>(0.250 to 0.500)</small>" in text
    assert "9.0 <small>(8 to 10)</small>" in text and "25 %</td>" in text
    assert "at K = 1 an untrained copy would give 25 % of the 40 above r = 0.3." in text


def test_without_untrained_copies_the_page_on_trust_says_nothing_of_them(with_evidence, tmp_path):
    page.write_page(with_evidence, tmp_path / "index.html")
    assert "ntrained" not in (tmp_path / "trust.html").read_text()


def test_a_unit_that_features_explain_has_its_plain_name_in_the_head_of_its_column(
    inputs, tmp_path
):
    rows = [(*ROWS[3][3:6], "darkness", "luminance", -0.9, 0.8)]
    rows += [(GENERATOR, *ROWS[3][1:3], "", "x", 0.1, 0.2)]
    provenance = made("names", GENERATOR, "model-a", of=ingredients(inputs["maps"]))
    write_table(pd.DataFrame(rows, columns=list(NAMES)), tmp_path / "names.csv", provenance)
    opened = open_dictionary(**inputs, names=tmp_path / "names.csv")
    assert list(opened.names.values()) == ["darkness (r 0.90)"]
    page.write_page(opened, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert 'over all images, with its correlation">darkness (r 0.90)</span>' in text
    assert text.count("darkness") == 1


def test_evidence_of_some_models_only_is_refused(inputs, tmp_path):
    write_evidence(tmp_path / "a.csv", "model-a", "2 of 2", inputs)
    with pytest.raises(ValueError, match="is of model-b too, but --evidence has only model-a"):
        open_dictionary(**inputs, evidence=[tmp_path / "a.csv"])


def test_the_page_needs_no_network(opened, tmp_path):
    output = tmp_path / "index.html"
    page.write_page(opened, output)
    for reference in Page(output).references:
        assert reference.startswith(("concepts/", "#concept-")), reference
    assert not re.search(r"https?:|//[a-z]|@import|url\(", output.read_text().replace("// ", ""))


def test_the_page_says_what_was_mined(opened, tmp_path):
    output = tmp_path / "index.html"
    page.write_page(opened, output)
    text = re.sub(r"<wbr>|</?[a-z][^>]*>", "", output.read_text())
    for fact in (
        GENERATOR,
        "model-a, model-b",
        "12 (seed 7)",
        "3 of tiny-gan",
        "main.5:3, 2 units of tiny-gan",
        "strength 0.70 · 2 units of tiny-gan · 4 model units",
        "channel 6 · r = 0.80",
    ):
        assert fact in text, fact


def test_of_many_models_those_that_match_best_are_shown_and_the_table_keeps_all(
    inputs, opened, tmp_path, monkeypatch
):
    monkeypatch.setattr(exemplars, "MOST_SHOWN", 1)
    few = open_dictionary(**inputs)
    mean = np.mean([concept.correlations for concept in opened.concepts], axis=0)
    best = int(mean.argmax())
    assert few.models == [opened.models[best]] and few.all_models == 2
    assert [one.strength for one in few.concepts] == [one.strength for one in opened.concepts]
    assert [one.units for one in few.concepts] == [
        (one.generator_unit, one.model_units[best]) for one in opened.concepts
    ]
    assert len(few.table) == len(opened.table)
    page.write_page(few, tmp_path / "index.html")
    assert "2, of which the 1 that match best are shown" in (tmp_path / "index.html").read_text()
    assert len(figures.figure3(few).artists) < len(figures.figure3(opened).artists)


def test_the_page_of_photos_names_their_files(of_photos, tmp_path):
    page.write_page(of_photos, tmp_path / "index.html")
    read = Page(tmp_path / "index.html")
    assert read.open == []
    # maxima grow with the index of the image: the best three are the last
    shown = [p for p in read.pictures if p["src"].startswith("concepts/image-")][:3]
    assert [picture["title"] for picture in shown] == FILES[:-4:-1]
    assert shown[1]["alt"] == "Image 10 (a$b$ <c>.png)"
    alts = [p["alt"] for p in read.pictures if "top example, image 10 (" in p["alt"]]
    assert len(alts) == 2 * 3
    text = (tmp_path / "index.html").read_text()
    assert "<span>image 10</span>" in text and ">a$b$ &lt;c&gt;.png</span>" in text
    assert ">long long…g name.png</span>" in text


def test_the_page_says_which_photos_were_left_out(of_photos, tmp_path):
    page.write_page(of_photos, tmp_path / "index.html")
    head = (tmp_path / "index.html").read_text().split("</dl>")[0]
    text = re.sub(r"</?[a-z][^>]*>", " ", head)
    assert "12 (from files)" in text and "First model" in text
    assert re.search(r"Left out\s+2 unreadable files", text)
    assert "<li>x.jpg: the file is empty</li>\n<li>&lt;y&gt;.jpg: no image</li>" in head


def test_figures_of_photos_name_their_files(of_photos, monkeypatch):
    words = []
    monkeypatch.setattr(figures, "choose_images", lambda *_: [10, 9, 11])
    for figure in (figures.figure2(of_photos), figures.figure3(of_photos, concepts=1)):
        figure.canvas.draw()  # a$b$ is no formula
        words.append(" ".join(text.get_text() for text in figure.texts).replace("\n", " "))
    # the best image has the long name; of number 9 the font has no sign
    assert "image long long l…ong name.png." in words[0]
    assert "Photos, from top to bottom: a$b$ <c>.png, number 9, long long" in words[1]


def test_figure_2_calls_concepts_by_id_and_has_fewer_columns_where_ids_are_long(opened):
    words = [text.get_text() for text in figures.figure2(opened).texts]
    assert words[: len(opened.concepts) + 1] == ["image", *(one.id for one in opened.concepts)]
    assert [figures._columns(121, letters) for letters in (3, 10, 15, 60)] == [14, 13, 9, 6]
    assert figures._columns(7, 3) == 6


def test_figures_of_a_generator_number_its_images(opened):
    words = [text.get_text() for text in figures.figure3(opened, images=2).texts]
    assert any(re.search(r"Images \d+, \d+\.$", text) for text in words)
    assert not any("Photos" in text for text in words)


def test_low_and_middle_examples_are_shown_beside_the_best(opened, tmp_path):
    output = tmp_path / "index.html"
    page.write_page(opened, output, top=3, middle=2, low=1)
    # maxima grow with the index of the image: 11 is the best, 0 the worst
    units = [concept.generator_unit for concept in opened.concepts]
    maxima = page.unit_maxima(opened.maps, units, opened.images)
    examples = page.concept_examples(opened, maxima, top=3, middle=2, low=1)[1]
    assert [(example.group, example.image, example.rank) for example in examples] == [
        ("top", 11, 1),
        ("top", 10, 2),
        ("top", 9, 3),
        ("middle", 6, 6),
        ("middle", 5, 7),
        ("low", 0, 12),
    ]
    text = output.read_text()
    assert text.count('<b class="low">low</b><span>image 0</span><span>rank 12</span>') == 2


def test_the_colour_scale_of_a_page_is_that_of_the_moments(opened):
    unit = Unit("model-b", "Relu_1", 2)
    values = opened.maps["model-b"].read("Relu_1", slice(0, IMAGES))[:, 2]
    assert unit_ranges(opened.moments, [unit])[unit] == (values.min(), values.max())


def test_the_representative_has_the_strongest_correlations_on_average(opened):
    first = opened.concepts[0]
    # main.2/0 has the strongest single correlation, main.5/3 the higher mean: (0.8 + 0.6) / 2
    assert first.generator_unit == Unit(GENERATOR, "main.5", 3)
    assert first.model_units == (Unit("model-a", "blocks.1.act", 6), Unit("model-b", "Relu_1", 2))
    assert first.correlations == (0.8, 0.6)
    assert first.strength == pytest.approx(0.7)


def test_maps_and_maxima_read_by_chunks_are_those_of_the_store(opened):
    whole = {
        (model, layer): opened.maps[model].read(layer, slice(0, IMAGES))
        for model, layers in SIZES.items()
        for layer in layers
    }
    units = [unit for concept in opened.concepts for unit in concept.units]
    wanted = [(unit, image) for unit in units for image in (11, 0, 7, 4)]
    maps = read_maps(opened.maps, wanted)
    assert set(maps) == set(wanted)
    for (unit, image), values in maps.items():
        expected = whole[unit.model, unit.layer][image, unit.channel]
        np.testing.assert_array_equal(values, expected)
    for unit, maxima in unit_maxima(opened.maps, units, IMAGES).items():
        expected = whole[unit.model, unit.layer][:, unit.channel].max(axis=(1, 2))
        np.testing.assert_array_equal(maxima, expected)


def test_an_empty_table_gives_a_page_and_figures_that_say_why(empty, tmp_path):
    output = tmp_path / "page" / "index.html"
    page.write_page(empty, output)
    assert "no unit of the generator has a best buddy in every model" in output.read_text()
    assert "model-a, model-b" in output.read_text()
    assert Page(output).sections == []
    for path in figures.write_figures(empty, tmp_path / "figures"):
        assert path.stat().st_size > 0


def test_a_page_replaces_the_one_before_it_and_leaves_nothing_else(opened, tmp_path):
    output = tmp_path / "page" / "index.html"
    page.write_page(opened, output)
    (output.parent / "concepts" / "of-an-older-run.webp").write_bytes(b"")
    before = output.read_bytes()
    page.write_page(opened, output)
    assert output.read_bytes() == before
    assert not (output.parent / "concepts" / "of-an-older-run.webp").exists()
    assert sorted(path.name for path in output.parent.iterdir()) == ["concepts", "index.html"]


def test_a_page_that_fails_leaves_the_one_before_it(opened, tmp_path, monkeypatch):
    output = tmp_path / "page" / "index.html"
    page.write_page(opened, output)
    before = output.read_bytes()
    monkeypatch.setattr(page, "page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        page.write_page(opened, output)
    assert output.read_bytes() == before
    assert sorted(path.name for path in output.parent.iterdir()) == ["concepts", "index.html"]


def test_a_store_the_table_needs_is_missed_by_name(inputs):
    inputs["maps"] = inputs["maps"][:2]
    with pytest.raises(ValueError, match=r"is of model-b too, but --maps has only"):
        open_dictionary(**inputs)


def test_a_table_without_its_columns_is_refused(inputs):
    write_rosetta(pd.DataFrame({"concept": [1]}), inputs["table"], inputs["maps"])
    with pytest.raises(ValueError, match=r"rosetta.csv is damaged: its columns are concept, not"):
        open_dictionary(**inputs)


def test_figures_of_the_same_inputs_are_the_same_bytes(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "DOTS_PER_INCH", 50)
    first = figures.write_figures(opened, tmp_path / "first", concepts=2, images=2)
    second = figures.write_figures(opened, tmp_path / "second", concepts=2, images=2)
    assert [path.name for path in first] == [
        "figure2.pdf",
        "figure2.png",
        "figure3.pdf",
        "figure3.png",
    ]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    # embedded TrueType, not Type 3
    assert b"/Type3" not in first[0].read_bytes()


def test_figure_3_passes_over_concepts_that_look_like_a_stronger_one(opened, monkeypatch):
    alike = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    concepts = [opened.concepts[0], opened.concepts[0], opened.concepts[1]]
    three = dataclasses.replace(
        opened,
        concepts=[dataclasses.replace(each, number=n) for n, each in enumerate(concepts, 1)],
    )
    monkeypatch.setattr(choices, "unit_similarity", lambda *_: alike)
    for count, numbers in ((1, [1]), (2, [1, 3]), (3, [1, 2, 3]), (9, [1, 2, 3])):
        chosen = choices.choose_distinct(three, count)
        assert [concept.number for concept in chosen] == numbers


def test_the_command_line_writes_the_page(inputs, tmp_path):
    command = [sys.executable, "-m", "rosetta_steps.dictionary"]
    command += ["--table", inputs["table"], "--samples", inputs["samples"]]
    command += ["--maps", *inputs["maps"], "--moments", *inputs["moments"]]
    subprocess.run([*command, "--output", tmp_path / "index.html"], check=True)
    assert Page(tmp_path / "index.html").sections == ["concept-main.5:3", "concept-main.2:4"]


def test_a_page_on_a_full_disk_is_named_with_the_remedy_and_cleans_up_what_a_killed_one_left(
    opened, tmp_path
):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (tmp_path / f".index.html.{process.pid}.partial" / "concepts").mkdir(parents=True)

    def write():
        with full_disk():
            page.write_page(opened, tmp_path / "index.html")

    assert "index.html cannot be written: " in message_of(write)
    assert sorted(os.listdir(tmp_path)) == ["rosetta.csv", "rosetta.csv.done.json"]
