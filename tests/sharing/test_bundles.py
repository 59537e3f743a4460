"""A bundle is whole, says where it comes from, and is refused where a file was changed."""

import doctest
import json
import shutil
import subprocess
import urllib.error
import zipfile

import pandas as pd
import pytest
from full_disk import full_disk

import rosetta_steps as rs
from rosetta_steps import bundle as step
from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.sharing import opening
from rosetta_steps.sharing.bundle import FORMAT, refuse_other_folder, write_bundle
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


def cut(bundle):
    """Leave the first lines of the checksums, as of a download that broke off."""
    sums = bundle / "manifest-sha256.txt"
    sums.write_text("".join(sums.read_text().splitlines(keepends=True)[:10]))


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
        (lambda b: (b / "manifest-sha256.txt").write_text(""), "manifest-sha256.txt is damaged"),
        (lambda b: (b / "manifest-sha256.txt").write_bytes(b"\xff\xfe"), "sha256.txt is damaged"),
        (cut, "manifest-sha256.txt is damaged"),
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


def test_a_folder_of_results_is_no_bundle_and_one_with_hidden_files_is(bundle, tmp_path):
    (tmp_path / "work/results").mkdir(parents=True)
    with pytest.raises(UserError, match="work is no bundle: it has no manifest-sha256.txt"):
        refuse_other_folder(tmp_path / "work")
    (bundle / ".DS_Store").write_text("x")
    refuse_other_folder(bundle)
    assert rs.open_bundle(bundle).models


def test_what_is_no_dictionary_or_no_settings_is_refused_in_a_line(monkeypatch):
    for words, message in (
        (
            ["--artefacts", "x.csv", "--settings", "{}", "--output", "b/bundle.json"],
            "rosetta.csv is",
        ),
        (["--artefacts", "x.csv", "--settings", "x", "--output", "b/bundle.json"], "is no JSON"),
        (["--artefacts", "x.csv", "--settings", "{}", "--output", "bundle.json"], "no folder"),
    ):
        monkeypatch.setattr("sys.argv", ["bundle", *words])
        with pytest.raises(UserError, match=message):
            step.main()


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
def address(project, bundle, tmp_path, monkeypatch):
    """An address that sends what a test puts into the file of that name."""
    monkeypatch.setattr(opening, "cache_folder", lambda: tmp_path / "cache")

    class Asked(list):
        whole = project.folder / BUNDLE

    asked = Asked()

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
    with pytest.raises(ValueError, match=r"https://x/a.zip holds no bundle"):
        rs.open_bundle("https://x/a.zip")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name != "bundles"]


def test_a_zip_file_on_the_disk_is_unpacked_once_and_anew_when_it_was_written_anew(
    bundle, address, tmp_path
):
    archive = tmp_path / "sent.zip"
    archive.write_text("x")
    with pytest.raises(ValueError, match="sent.zip is no zip file"):
        rs.open_bundle(archive)
    shutil.make_archive(str(tmp_path / "sent"), "zip", tmp_path, "published")
    places = {rs.open_bundle(archive).folder for _ in range(2)}
    (bundle / ".DS_Store").write_text("x")  # which no checksum is kept of
    shutil.make_archive(str(tmp_path / "sent"), "zip", tmp_path, "published")
    again = rs.open_bundle(archive)
    assert again.models == ["generator", "one"]
    assert len(places) == 1 and again.folder not in places
    assert not address and archive.is_file()


def test_files_of_one_name_at_two_addresses_are_two_bundles(bundle, address, tmp_path):
    shutil.make_archive(str(tmp_path / "sent"), "zip", tmp_path, "published")
    places = {rs.open_bundle(f"https://x/records/{n}/files/a.zip").folder for n in (1, 2)}
    assert len(places) == len(address) == 2


def test_a_damaged_bundle_is_not_kept_and_one_damaged_later_is_named(bundle, address, tmp_path):
    (bundle / "results/dictionary/tiny/rosetta.csv").write_text("x")
    shutil.make_archive(str(tmp_path / "sent"), "zip", tmp_path, "published")
    with pytest.raises(ValueError, match="rosetta.csv is another than"):
        rs.open_bundle("https://x/a.zip")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name != "bundles"]
    (bundle / "manifest-sha256.txt").write_text("")
    shutil.rmtree(bundle)
    shutil.copytree(address.whole, bundle)
    shutil.make_archive(str(tmp_path / "sent"), "zip", tmp_path, "published")
    folder = rs.open_bundle("https://x/a.zip").folder
    (folder / "bundle.json").write_text("{")
    with pytest.raises(ValueError, match=f"damaged .* It is kept in {folder}: delete that first"):
        rs.open_bundle("https://x/a.zip")


def test_an_address_that_does_not_answer_is_named(address, monkeypatch):
    def fetch(url, target):
        raise urllib.error.HTTPError(url, 404, "Not Found", None, None)

    monkeypatch.setattr(opening, "fetch_file", fetch)
    with pytest.raises(ValueError, match="https://x/a.zip cannot be fetched: HTTP Error 404"):
        rs.open_bundle("https://x/a.zip")


def test_an_address_that_is_not_https_is_refused():
    with pytest.raises(ValueError, match="http://x/a.zip is not an https address"):
        rs.open_bundle("http://x/a.zip")
