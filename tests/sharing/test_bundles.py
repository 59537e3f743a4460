"""A bundle is whole, says where it comes from, and is refused where a file was changed."""

import doctest
import json
import shutil
import subprocess
import zipfile

import pandas as pd
import pytest
from full_disk import full_disk

import rosetta_steps as rs
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.sharing import opening
from rosetta_steps.sharing.bundle import FORMAT, write_bundle
from rosetta_steps.testing import Project

BUNDLE = "results/bundles/tiny"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of tiny networks, its dictionary mined and bundled."""
    project = Project(tmp_path_factory.mktemp("shared"))
    project.make("bundle")
    return project


@pytest.fixture
def bundle(project, tmp_path):
    """A copy of the bundle, somewhere else and under another name."""
    shutil.copytree(project.folder / BUNDLE, tmp_path / "published")
    return tmp_path / "published"


def test_a_bundle_is_read_as_results_are_wherever_it_lies(project, bundle):
    published = rs.open_bundle(bundle)
    results = rs.open_results("tiny", project.folder)
    pd.testing.assert_frame_equal(published.dictionary, results.dictionary)
    assert published.models == ["generator", "one"]
    assert published.samples["image"].equals(results.samples["image"])
    for layer, maps in results.activations("generator").children.items():
        assert published.activations("generator")[layer]["activation"].equals(maps["activation"])
    assert published.moments("generator").attrs == results.moments("generator").attrs
    pages = {path.name for path in (bundle / "results/dictionary/tiny").iterdir()}
    assert {"index.html", "trust.html", "concepts", "figure3.pdf"} <= pages


def test_the_example_of_its_docstring_runs(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    found = doctest.testmod(opening)
    assert found.attempted >= 4 and found.failed == 0


def test_it_says_with_what_and_of_what_it_was_made(bundle):
    about = rs.open_bundle(bundle).about
    assert about["format"] == FORMAT and about["rosetta_steps"] == rs.__version__
    assert [one["name"] for one in about["models"]] == ["generator", "one"]
    assert about["models"][1]["licence"] == "MIT" and about["models"][1]["source"]
    assert about["settings"]["neighbours"] == 5
    assert about["settings"]["sample_set"]["seed"] == 0
    assert any(one.startswith("torch ") for one in about["versions"])


def test_its_checksums_are_those_that_sha256sum_takes(bundle):
    done = subprocess.run(
        ["sha256sum", "--quiet", "--strict", "-c", "manifest-sha256.txt"], cwd=bundle
    )
    assert done.returncode == 0


def test_the_metadata_lists_every_file_and_the_licence_of_every_network(bundle):
    graph = json.loads((bundle / "ro-crate-metadata.json").read_text())["@graph"]
    entities = {one["@id"]: one for one in graph}
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    parts = [one["@id"] for one in entities["./"]["hasPart"]]
    assert set(parts) <= set(entities)
    own = {"ro-crate-metadata.json", "manifest-sha256.txt"}
    for file in (path for path in bundle.rglob("*") if path.is_file()):
        name = file.relative_to(bundle).as_posix()
        assert name in own or any(name == part or name.startswith(part) for part in parts), name
    for part in parts:
        path = bundle / part
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        assert int(entities[part]["contentSize"]) == sum(one.stat().st_size for one in files)
    assert entities["#one"]["license"] == "MIT"
    assert "one: MIT" in entities["#licences"]["description"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda b: (b / "bundle.json").unlink(), "is no bundle: it has no bundle.json"),
        (lambda b: (b / "bundle.json").write_text("{"), "bundle.json is damaged"),
        (lambda b: (b / "manifest-sha256.txt").unlink(), "manifest-sha256.txt is missing"),
        (
            lambda b: (b / "results/dictionary/tiny/rosetta.csv").write_text("concept\n"),
            "rosetta.csv is another than manifest-sha256.txt says. Fetch the bundle again",
        ),
        (lambda b: next(b.rglob("zarr.json")).unlink(), "zarr.json is missing. Fetch the bundle"),
        (lambda b: (b / "mine.txt").write_text("x"), "mine.txt does not belong to the bundle"),
    ],
)
def test_a_bundle_that_was_changed_is_refused_with_the_file(bundle, harm, message):
    harm(bundle)
    with pytest.raises(ValueError, match=message):
        rs.open_bundle(bundle)


def test_a_bundle_of_another_format_is_refused_with_the_version_that_wrote_it(bundle):
    about = json.loads((bundle / "bundle.json").read_text())
    changed = json.dumps(about | {"format": FORMAT + 1, "rosetta_steps": "9.1"})
    (bundle / "bundle.json").write_text(changed)
    with pytest.raises(ValueError, match=r"format 2, and .* reads format 1: .* by 9.1. Install"):
        rs.open_bundle(bundle)


def test_a_folder_that_is_no_bundle_is_never_replaced(project, tmp_path):
    copy = project.copy(tmp_path / "copy")
    (copy.folder / BUNDLE / "bundle.json").unlink()
    (copy.folder / BUNDLE / "notes.txt").write_text("mine")
    with pytest.raises(AssertionError, match=r"is no bundle: it has notes.txt. Move it away"):
        copy.make("bundle")
    assert (copy.folder / BUNDLE / "notes.txt").read_text() == "mine"


def test_a_bundle_on_a_full_disk_is_named_and_leaves_nothing(project, tmp_path):
    results = project.folder / "results"
    artefacts = [results / "samples/tiny.zarr", results / "dictionary/tiny/rosetta.csv"]
    output = tmp_path / "bundles/tiny"
    zoo = project.folder / "config/models.yaml"
    with full_disk(2000), pytest.raises(StoreError, match="tiny cannot be written: .*File too l"):
        write_bundle(artefacts, output, settings={}, zoo=zoo)
    assert list(output.parent.iterdir()) == []


def test_a_bundle_is_made_anew_only_after_what_it_holds(project, tmp_path):
    copy = project.copy(tmp_path / "copy")
    assert not copy.planned("bundle")
    copy.config(lambda config: config.update(neighbours=3))
    assert copy.planned("bundle")["bundle_folder"] == 1


# --- from an address ------------------------------------------------------------------------------


@pytest.fixture
def address(bundle, tmp_path, monkeypatch):
    """An address that sends what a test puts into the file of that name."""
    monkeypatch.setattr(opening, "cache_folder", lambda: tmp_path / "cache")
    asked = []

    def fetch(url, target):
        asked.append(url)
        shutil.copyfile(tmp_path / "sent.zip", target)

    monkeypatch.setattr(opening, "fetch_file", fetch)
    return asked


def test_a_bundle_at_an_address_is_fetched_once(bundle, address, tmp_path):
    shutil.make_archive(str(tmp_path / "sent"), "zip", tmp_path, "published")
    for _ in range(2):
        published = rs.open_bundle("https://zenodo.org/records/1/files/tiny.zip?download=1")
        assert published.models == ["generator", "one"]
    assert len(address) == 1
    assert not list((tmp_path / "cache").rglob("*.zip"))


def test_what_is_no_zip_file_of_a_bundle_is_refused_with_the_address(bundle, address, tmp_path):
    (tmp_path / "sent.zip").write_text("<html>")
    with pytest.raises(ValueError, match="https://x/a.zip is no zip file"):
        rs.open_bundle("https://x/a.zip")
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(ValueError, match=r"https://x/a.zip holds no bundle: .* Delete /"):
        rs.open_bundle("https://x/a.zip")


def test_an_address_that_is_not_https_is_refused():
    with pytest.raises(ValueError, match="http://x/a.zip is not an https address"):
        rs.open_bundle("http://x/a.zip")
