"""A site is whole: every link and picture is there, and search finds concepts."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from rosetta_steps import shared
from rosetta_steps.display.dictionary import concept_examples
from rosetta_steps.display.exemplars import EMPTY_REASON
from rosetta_steps.display.reading import open_dictionary, unit_maxima
from rosetta_steps.maps.channels import places_of, planes
from rosetta_steps.maps.store import MapReader
from rosetta_steps.matching.tables import (
    EVIDENCE,
    NUMBER,
    read_coverage,
    read_dictionary,
    read_partners,
)
from rosetta_steps.testing import Project
from rosetta_steps.website.atlas import placed
from rosetta_steps.website.content import Content, slug
from rosetta_steps.website.folders import MARK, WRITTEN, folder_of, refuse_other_folder
from rosetta_steps.website.templates import pages

SITE = "results/site/tiny"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Addresses, ids and pictures of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.without_words = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.links += [named[key] for key in ("href", "src") if key in named]
        self.ids |= {named["id"]} if "id" in named else set()
        if tag == "img" and "alt" not in named:
            self.without_words.append(named["src"])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of tiny networks whose dictionary was written as a site."""
    project = Project(tmp_path_factory.mktemp("site"))
    project.make("site")
    return project


@pytest.fixture(scope="module")
def site(project):
    return project.folder / SITE


@pytest.fixture(scope="module")
def table(project):
    return pd.read_csv(project.folder / "results/dictionary/tiny/rosetta.csv")


def test_every_link_and_picture_of_every_page_is_a_file_of_the_site(site):
    read = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    assert len(read) > 20
    for path, page in read.items():
        assert not page.without_words
        for link in page.links:
            assert not re.match(r"\w+:|//|/", link), f"{path} leads outside: {link}"
            address, _, place = link.partition("#")
            target = (path.parent / unquote(address)).resolve() if address else path
            assert target.is_file(), f"{path}: {link}"
            assert target.is_relative_to(site.resolve())
            if place and target.suffix == ".html":
                assert unquote(place) in read[path if not address else target].ids


def test_there_is_a_page_of_every_concept_unit_and_model(site, table):
    for name in table["concept_id"].unique():
        assert f"Concept {name}" in (site / f"concepts/{slug(name)}.html").read_text()
    units = {("generator", r.generator_layer, r.generator_channel) for r in table.itertuples()}
    units |= {(row.model, row.layer, row.channel) for row in table.itertuples()}
    for model, layer, channel in units:
        text = (site / f"units/{model}/{slug(f'{layer}:{channel}')}.html").read_text()
        assert re.search(rf"Channel {channel} of layer <a [^>]*>{layer}<", text)
    assert len(list(site.glob("units/*/*.html"))) == len(units)
    assert {path.stem for path in site.glob("models/*.html")} == {"generator", "one"}


def test_concepts_are_filtered_by_every_column_of_the_evidence(site, table, project):
    evidence = pd.read_csv(project.folder / "results/evidence/tiny/generator--one.csv")
    text = (site / "index.html").read_text()
    offered = re.search(r'<select id="column">(.*?)</select>', text, re.DOTALL)[1]
    numbers = [column for column, kind in EVIDENCE.items() if kind == NUMBER]
    there = [column for column in numbers if evidence[column].notna().any()]
    assert re.findall(r'value="(\w+)"', offered) == [one.replace("_", "") for one in there]
    assert {"top_positions", "q"} <= set(there)
    name = table["concept_id"].iloc[0]
    card = re.search(rf'<li [^>]*data-id="{re.escape(name)}"[^>]*>', text)[0]
    layer, channel = name.rsplit(":", 1)
    own = evidence[(evidence["layer_a"] == layer) & (evidence["channel_a"] == int(channel))]
    shown = own.loc[own["correlation"].idxmax()]  # of the only model
    found = float(re.search(r'data-where="(.*?)"', card)[1])
    assert found == pytest.approx(shown["where"], rel=1e-3)


def test_a_page_of_a_layer_has_every_unit_with_its_partner(site, project):
    partners = pd.read_csv(project.folder / "results/partners/tiny/generator--one.csv")
    for (model, layer), own in partners.groupby(["model", "layer"]):
        text = (site / f"layers/{model}/{layer}.html").read_text()
        rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', text, re.DOTALL)
        assert len(rows) == len(own)
        for row, one in zip(rows, own.itertuples(), strict=True):
            assert re.match(rf"(<a [^>]*>)?{one.channel}\b", row)
            if one.correlation == one.correlation:
                assert f"{one.partner_layer}:{one.partner_channel:.0f}" in row
                assert f"<td>{one.correlation:.3f}</td>" in row
                assert ("<td>passes</td>" in row) == (one.passes == "yes")
                assert ("<td>yes</td>" in row) == (one.best_buddy == "yes" != one.passes)


def test_a_page_of_an_image_lists_concepts_by_their_response(site, project):
    stores = project.folder / "results"
    maps = MapReader(stores / "matched_maps/tiny/generator.zarr")
    table = read_dictionary(stores / "dictionary/tiny/rosetta.csv")
    pages_of_images = sorted(site.glob("images/*.html"))
    assert pages_of_images
    for path in pages_of_images:
        text = path.read_text()
        shown = re.findall(r"<b>(.*?)</b></a><span>rank (\d+)</span><span>peak (\d+)%", text)
        peaks = [int(peak) for *_, peak in shown]
        assert peaks == sorted(peaks, reverse=True)
        assert {name for name, *_ in shown} <= set(table["concept_id"])
        name, _, peak = shown[0]
        layer, channel = name.rsplit(":", 1)
        place = places_of(maps, layer, [int(channel)])[int(channel)]
        values = planes(maps, layer, slice(0, maps.images), [place])[:, 0]
        share = (values[int(path.stem)].max() - values.min()) / (values.max() - values.min())
        assert int(peak) == pytest.approx(100 * share, abs=0.51)


def test_the_atlas_has_every_unit_of_the_generator_in_the_dictionary(site, table):
    text = (site / "atlas.html").read_text()
    names = table["generator_layer"] + ":" + table["generator_channel"].astype(str)
    assert len(re.findall(r"<circle", text)) == names.nunique()
    assert all(f'aria-label="{name}, concept' in text for name in names)


def test_units_that_correlate_are_placed_close_to_each_other():
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 12)
    table = np.where(group[:, None] == group, 0.8, 0.0) + random.normal(0, 0.02, (48, 48))
    places = placed(table)
    np.testing.assert_array_equal(places, placed(table))
    assert places.min() == 0 and places.max() == 1
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(1)] == group).all()
    assert placed(table[:2, :2]).shape == (2, 2) and placed(table[:0, :0]).shape == (0, 2)


def test_the_histogram_of_a_unit_counts_every_image(project):
    content = Content(
        SimpleNamespace(), {}, {}, None, {"unit": np.arange(100.0), "mute": np.zeros(9)}
    )
    found = content._histogram("unit")
    assert (found["low"], found["high"], found["median"]) == (0, 99, 49.5)
    assert len(found["bars"]) == 32 and max(found["bars"]) == 1 and min(found["bars"]) >= 0.75
    assert sorted(content._histogram("mute")["bars"])[-2:] == [0, 1]
    assert content._histogram("unknown") is None


def test_pages_say_what_the_tables_say(site, table, project):
    row = table.iloc[0]
    text = (site / f"concepts/{slug(row['concept_id'])}.html").read_text()
    assert f"{row['correlation']:.3f}" in text
    folder = project.folder / "results"
    partners = pd.read_csv(folder / "partners/tiny/generator--one.csv")
    mine = partners[
        (partners["model"] == "generator")
        & (partners["layer"] == row["generator_layer"])
        & (partners["channel"] == row["generator_channel"])
    ].iloc[0]
    name = slug(f"{row['generator_layer']}:{row['generator_channel']}")
    unit = (site / f"units/generator/{name}.html").read_text()
    assert f"{mine['partner_layer']}:{mine['partner_channel']:.0f}" in unit
    assert f"{mine['correlation']:.3f}" in unit


def test_the_data_beside_the_pages_are_those_of_the_tables(site, table):
    concepts, pairs, coverage = (
        json.loads((site / f"data/{name}.json").read_text())
        for name in ("concepts", "pairs", "coverage")
    )
    assert [one["concept_id"] for one in concepts] == list(table["concept_id"].unique())
    columns = [name for name in table if name != "generator"]
    found = pd.DataFrame(pairs)[columns]
    pd.testing.assert_frame_equal(found, table[columns], check_dtype=False)
    assert {one["model"] for one in coverage} == {"generator", "one"}
    assert sum(one["pairs"] for one in concepts) == len(table)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.b:1", "a-b:1"), ("a/b:1", "a~2fb:1"), ("relu#1:1", "relu-1:1"), ("a:11", "a-1:1")],
)
def test_two_units_never_share_an_address(one, other):
    assert slug(one) != slug(other)
    assert re.fullmatch(r"[\w.~-]+", slug(one))


def test_names_with_markup_are_shown_as_text(project):
    folder = project.folder / "results"
    stores = [
        [folder / kind / f"tiny/{name}.zarr" for name in ("generator", "one")]
        for kind in ("matched_maps", "moments")
    ]
    dictionary = open_dictionary(
        folder / "dictionary/tiny/rosetta.csv",
        folder / "samples/tiny.zarr",
        *stores,
        evidence=[folder / "evidence/tiny/generator--one.csv"],
    )
    units = [concept.generator_unit for concept in dictionary.concepts]
    maxima = unit_maxima(dictionary.maps, units, dictionary.images)
    examples = concept_examples(dictionary, maxima, top=1, middle=0, low=0)
    partners = {"one": read_partners(folder / "partners/tiny/generator--one.csv")}
    coverage = read_coverage(folder / "coverage/tiny.csv")
    unit = dictionary.concepts[0].model_units[0]
    named = replace(dictionary, names={unit: "<script>alert(1)</script>"})
    content = Content(named, examples, partners, coverage, maxima)
    shared = dict.fromkeys(("generator", "settings", "identity", "key"), "<b>x</b>")
    shared |= {"images": 1, "width": 1, "height": 1, "models": content.models}
    shared |= {"columns": content.columns, "badges": content.badges, "atlas": []}
    texts = [text for _, text in pages(content, shared)]
    assert sum("&lt;script&gt;alert(1)" in text for text in texts) > 2
    assert not any("<script>alert" in text or "<b>x" in text for text in texts)


def test_a_dictionary_without_concepts_says_why_and_has_its_models(project):
    folder = project.folder / "results"
    partners = {"one": read_partners(folder / "partners/tiny/generator--one.csv")}
    empty = SimpleNamespace(
        concepts=[], table=read_dictionary(folder / "dictionary/tiny/rosetta.csv").iloc[:0],
        names={}, verdicts={}, evidence={}, evidence_of_pairs={}, files=[], generator="generator",
        models=["one"], moments={},
    )  # fmt: skip
    content = Content(empty, {}, partners, read_coverage(folder / "coverage/tiny.csv"), {})
    shared = dict.fromkeys(("generator", "settings", "identity", "key"), "x")
    shared |= {
        "images": 8,
        "width": 1,
        "height": 1,
        "columns": content.columns,
        "badges": content.badges,
        "atlas": [],
    }
    texts = dict(pages(content, shared | {"models": content.models}))
    assert {path for path in texts if not path.startswith("layers/")} == {
        "index.html", "models/generator.html", "models/one.html"
    }  # fmt: skip
    assert EMPTY_REASON in texts["index.html"]
    assert content.data()["concepts"] == content.data()["pairs"] == []


def test_a_folder_that_is_no_site_is_never_replaced(tmp_path):
    refuse_other_folder(tmp_path / "new", "snakemake site")
    (tmp_path / "thesis.pdf").write_text("mine")
    with pytest.raises(ValueError, match=f"is no folder of ours .{MARK} is missing.: move it away"):
        refuse_other_folder(tmp_path, "snakemake site")
    (tmp_path / MARK).write_text(WRITTEN.format("rosetta_steps.links"))
    refuse_other_folder(tmp_path, "rosetta_steps.links")
    with pytest.raises(ValueError, match="says: Written by rosetta_steps.links, and replaced by"):
        refuse_other_folder(tmp_path, "snakemake site")


@pytest.mark.parametrize("page", ["index.html", "out/mine.html"])
def test_a_page_with_files_beside_has_a_folder_of_its_own(page):
    with pytest.raises(ValueError, match=rf"{page} is no page of a folder of its own: give DIR/"):
        folder_of(Path(page), "me")
    assert folder_of(Path("out/index.html"), "me") == Path("out")


# --- in a browser ---------------------------------------------------------------------------------


def browse(address, tmp_path):
    """The page as a browser has it after its scripts, and what these had to complain of."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
    options += ["--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run([BROWSER, *options, address], capture_output=True, text=True, timeout=120)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, complaints


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("", lambda ranks: ranks),
        ("search=rank-1", lambda ranks: [rank for rank in ranks if str(rank).startswith("1")]),
        ("search=nothing-like-it", lambda ranks: []),
        ("order=-rank", lambda ranks: ranks),
        ("order=-units&search=rank-2", lambda ranks: [r for r in ranks if str(r)[0] == "2"]),
        ("column=where&least=-2&most=2", lambda ranks: ranks),
        ("column=where&least=2", lambda ranks: []),
    ],
)
def test_search_and_order_work_in_a_browser_without_a_complaint(
    site, table, tmp_path, asked, shown
):
    ranks = sorted(table["concept"].unique())
    text, complaints = browse(f"{(site / 'index.html').as_uri()}#{asked}", tmp_path)
    assert complaints == []
    assert f">{len(shown(ranks))} of {len(ranks)} concepts<" in text
    visible = re.findall(r"<li data-words=[^>]*>", text)
    found = [int(re.search(r'data-rank="(\d+)"', card)[1]) for card in visible]
    assert sorted(found) == shown(ranks)
    if "order=-units" in asked:
        units = [int(re.search(r'data-units="(\d+)"', card)[1]) for card in visible]
        assert units == sorted(units, reverse=True)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_table_is_ordered_by_the_column_that_is_clicked(site, tmp_path):
    path = site / "layers/one"
    page = sorted(path.glob("*.html"))[0]
    click = "<script>document.querySelectorAll('th button')[3].click()</script></body>"
    clicked = page.with_name("clicked.html")
    clicked.write_text(page.read_text().replace("</body>", click))
    try:
        text, complaints = browse(clicked.as_uri(), tmp_path)
    finally:
        clicked.unlink()
    assert complaints == []
    assert 'aria-sort="descending"' in text
    found = [float(r) for r in re.findall(r"</td><td>(-?\d\.\d{3})</td>", text)]
    assert len(found) > 5 and found == sorted(found, reverse=True)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("page", ["atlas.html", "images.html", "images/*.html", "units/one/*.html"])
def test_other_pages_have_nothing_to_complain_of(site, tmp_path, page):
    _, complaints = browse(next(site.glob(page)).as_uri(), tmp_path)
    assert complaints == []


# --- questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "model", "others"),
    [(["--only-in", "one"], "one", ["generator"]), (["--by", "one"], "generator", ["one"])],
)
def test_the_answer_to_a_question_is_a_page_with_images(
    project, monkeypatch, tmp_path, capsys, question, model, others
):
    monkeypatch.chdir(project.folder)
    page = tmp_path / "answer/index.html"
    words = ["shared", "--sample-set", "tiny", *question, "--first", "3", "--page", str(page)]
    monkeypatch.setattr("sys.argv", words)
    shared.main()
    on_screen = capsys.readouterr().out
    text = page.read_text()
    head = r"<h3>(\S+):(\d+) <small>(\S+) r (-?\d\.\d\d)( .has a best buddy.)?</small>"
    found = re.findall(head, text)
    assert len(found) == 3
    partners = pd.read_csv(project.folder / "results/partners/tiny/generator--one.csv")
    for layer, channel, other, r, buddy in found:
        mine = partners[
            (partners["model"] == model)
            & (partners["layer"] == layer)
            & (partners["channel"] == int(channel))
        ]
        assert re.search(rf"{layer} +{channel}\b", on_screen)
        assert other == others[0] and float(r) == round(mine["correlation"].iloc[0], 2)
        assert bool(buddy) == (mine["best_buddy"].iloc[0] == "yes")
    pictures = re.findall(r'<img src="([^"]+)"', text)
    assert len(pictures) == 1 + 3 * 3 * 4
    assert all((page.parent / one).is_file() for one in pictures)


def test_units_whose_maps_were_not_kept_are_shown_on_no_page(project, monkeypatch, tmp_path):
    copy = project.copy(tmp_path / "copy")
    shutil.rmtree(copy.folder / "results/activations/tiny/one.zarr")
    monkeypatch.chdir(copy.folder)
    words = ["shared", "--sample-set", "tiny", "--only-in", "one", "--page", "out/index.html"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(ValueError, match="has no maps of one: .*`store: all` alone"):
        shared.main()
    assert not (copy.folder / "out").exists()
