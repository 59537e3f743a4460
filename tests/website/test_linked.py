"""What two generators have in common, as a page: of one generator on two seeds, itself."""

import re
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import unquote

import pandas as pd
import pytest

from rosetta_steps.evidence.links import COMMON, ONLY_HERE
from rosetta_steps.matching.tables import LINKED_PAIRS, LINKED_UNITS, LINKS
from rosetta_steps.testing import Project
from rosetta_steps.website.linked import by_sample_set, open_mined, shown_pairs, write_links

KINDS_OF_MODELS = ("matched_maps", "moments")
FOLDER = "results/links/tiny/again"
PAIR = ["layer_a", "channel_a", "layer_b", "channel_b"]


def two_sets(config):
    tiny = config["sample_sets"]["tiny"] | {"models": ["one", "two"], "images": 32}
    config["sample_sets"] = {"tiny": tiny, "again": tiny | {"seed": 1}}
    config["evidence"]["level"] = 1.0  # of so few images nothing is certain


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of tiny networks that was mined on two sample sets, and links between them."""
    project = Project(tmp_path_factory.mktemp("links"))
    project.config(two_sets)
    project.make(f"{FOLDER}/index.html")
    return project


@pytest.fixture(scope="module")
def tables(project):
    return {
        name: pd.read_csv(project.folder / FOLDER / f"{name}.csv", keep_default_na=False)
        for name in ("links", "pairs", "units")
    }


def test_tables_have_the_columns_that_their_home_says(tables):
    assert list(tables["links"]) == list(LINKS)
    assert list(tables["pairs"]) == list(LINKED_PAIRS)
    assert list(tables["units"]) == list(LINKED_UNITS)
    assert set(tables["links"]["model"]) == {"one", "two"}


def test_a_generator_on_another_seed_is_linked_with_itself(tables):
    pairs = tables["pairs"]
    same = (pairs["layer_a"] == pairs["layer_b"]) & (pairs["channel_a"] == pairs["channel_b"])
    assert (pairs["models"] == 2).sum() > 1 and same[pairs["models"] == 2].all()
    assert len(pairs) > 5 and same.mean() > 0.5  # a tenth would be by chance


def test_a_pair_has_as_many_links_as_models_that_link_it(tables):
    counts = tables["links"].groupby(PAIR).size()
    pairs = tables["pairs"].set_index(PAIR)["models"]
    assert pairs.sort_index().to_dict() == counts.sort_index().to_dict()


def test_the_page_says_what_the_tables_say(project, tables):
    text = (project.folder / FOLDER / "index.html").read_text()
    for side, name in (("a", "tiny"), ("b", "again")):
        own = tables["units"][tables["units"]["side"] == side]["status"]
        row = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', text, re.DOTALL)[1]
        numbers = [int(number) for number in re.findall(r"<td>(\d+)</td>", row)]
        assert numbers[0] == (own == COMMON).sum() and numbers[2] == (own == ONLY_HERE).sum()
    for least in (1, 2):
        assert f"<td>{(tables['pairs']['models'] >= least).sum()}</td>" in text


def test_every_link_and_picture_of_the_page_is_there(project):
    folder = project.folder / FOLDER
    text = (folder / "index.html").read_text()
    addresses = [one for one in re.findall(r'(?:href|src)="([^"]+)"', text) if one[0] != "#"]
    assert len(addresses) > 10
    # Its name is the only link to itself.
    assert [a for a in addresses if not (folder / unquote(a)).is_file()] == []
    assert not [one for one in re.findall(r"<img[^>]*>", text) if "alt=" not in one]


def test_another_model_of_one_set_alone_changes_nothing_that_is_shared(project, tmp_path):
    other = project.copy(tmp_path / "copy")
    other.config(lambda config: config["sample_sets"]["again"].update(models=["one"]))
    other.make(f"{FOLDER}/index.html")
    links = pd.read_csv(other.folder / FOLDER / "links.csv")
    before = pd.read_csv(project.folder / FOLDER / "links.csv")
    mine = before[before["model"] == "one"].drop(columns=["rank_a", "rank_b"])
    keys = [*PAIR, "model"]
    pd.testing.assert_frame_equal(
        links[list(mine)].sort_values(keys, ignore_index=True),
        mine.sort_values(keys, ignore_index=True),
    )


def test_a_pair_is_shown_if_it_is_certain_itself_and_not_its_units_by_other_pairs():
    rows = [(1, 1, 0.001, "one"), (2, 1, 0.01, "two"), (1, 2, 0.01, "one"), (2, 2, 1.0, "one"),
            (3, 3, 0.01, "two"), (4, 4, 0.01, "one")]  # fmt: skip
    pairs = pd.DataFrame(
        [("x", a, "y", b, f"x:{a}", f"y:{b}" if b != 4 else "", 2, q) for a, b, q, _ in rows],
        columns=[*PAIR, "concept_id_a", "concept_id_b", "models", "q"],
    )
    links = pairs[PAIR].assign(model=[model for *_, model in rows])
    found = SimpleNamespace(pairs=pairs, links=links)
    both = shown_pairs(found, ["one", "two"], 0.05)
    assert both[["channel_a", "channel_b"]].to_numpy().tolist() == [[1, 1], [3, 3]]
    # The maps of model two are not there, so that what it alone links cannot be drawn.
    assert shown_pairs(found, ["one"], 0.05)["channel_a"].tolist() == [1]


def opened(project, name):
    folder = project.folder / "results"
    everyone = ("generator", "one", "two")
    of = {
        kind: [folder / kind / name / f"{one}.zarr" for one in everyone] for kind in KINDS_OF_MODELS
    }
    pairs = [f"generator--{one}" for one in everyone[1:]]
    of["correlations"] = [folder / "correlations" / name / f"{pair}.zarr" for pair in pairs]
    of["evidence"] = [folder / "evidence" / name / f"{pair}.csv" for pair in pairs]
    of["maps"] = of.pop("matched_maps")
    table = folder / "dictionary" / name / "rosetta.csv"
    return open_mined(table, folder / "samples" / f"{name}.zarr", of)


def test_without_best_buddies_the_page_says_that_there_is_nothing_common(project, tmp_path):
    mined = [opened(project, name) for name in ("tiny", "again")]
    none = [
        replace(
            one,
            legs={m: replace(leg, buddies=leg.buddies[:0]) for m, leg in one.legs.items()},
            dictionary=replace(one.dictionary, table=one.dictionary.table[:0], concepts=[]),
        )
        for one in mined
    ]
    write_links(none, tmp_path / "links", level=0.05)
    text = (tmp_path / "links/index.html").read_text()
    assert "No common units" in text and "No concept of tiny is without a link" in text
    assert len(pd.read_csv(tmp_path / "links/pairs.csv")) == 0
    assert (tmp_path / "links/links.png").is_file()


def test_sample_sets_without_a_model_in_common_are_refused(project, tmp_path):
    first, second = (opened(project, name) for name in ("tiny", "again"))
    alone = replace(second, legs={"two": second.legs["two"]})
    other = replace(first, legs={"one": first.legs["one"]})
    with pytest.raises(ValueError, match="no model was mined with both generators"):
        write_links([other, alone], tmp_path / "links", level=0.05)


def test_a_set_that_is_not_there_is_named(project):
    with pytest.raises(AssertionError, match="nothing"):
        project.snakemake("-n", "results/links/tiny/nothing/index.html")


def test_what_is_of_another_sample_set_is_refused(project):
    path = project.folder / "results/moments/again/one.zarr"
    with pytest.raises(ValueError, match="is of sample set again, not of tiny or other"):
        by_sample_set([path], ["tiny", "other"])
