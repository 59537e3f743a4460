"""What killed processes leave of pages, figures and animations goes when they are written again."""

import errno
import os
import subprocess
import sys
import time

import pytest
from full_disk import full_disk, message_of
from PIL import Image

from rosetta_steps.display import drawing
from rosetta_steps.inversion.figures.frames import write_animation
from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.storage.files import explain_full_disk
from rosetta_steps.storage.leftovers import LET_ALONE, partial, remove_leftovers


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(folder, *names):
    """Files and folders (those whose name ends in /) as a killed process leaves them."""
    for name in names:
        if name.endswith("/"):
            (folder / name).mkdir()
            (folder / name / "image.webp").touch()
        else:
            (folder / name).touch()


def test_leftovers_of_ended_processes_go_and_nothing_else(tmp_path, dead):
    host = partial(tmp_path / "x").name.removeprefix(".x.").partition(f"-{os.getpid()}")[0]
    running = os.getppid()
    gone = [f".index.html.{dead}.partial/", f".index.html.{host}-{dead}.partial/"]
    gone += [f".index.html.{dead}", f".index.html.{host}-{os.getpid()}.partial"]
    stays = [f".index.html.{running}.partial/", f".index.html.{host}-{running}.partial/"]
    stays += [f".index.html.another.node-{dead}.partial", "index.html", ".index.html.note"]
    stays += [f".other.html.{dead}.partial", f".indexxhtml.{dead}", f"index.html.{dead}.partial"]
    leave(tmp_path, *gone, *stays)
    remove_leftovers(tmp_path / "index.html")
    assert sorted(os.listdir(tmp_path)) == sorted(name.rstrip("/") for name in stays)
    old = time.time() - 3600 * (LET_ALONE + 1)
    os.utime(tmp_path / stays[2], (old, old))
    remove_leftovers(tmp_path / "index.html")
    assert sorted(os.listdir(tmp_path)) == sorted(n.rstrip("/") for n in stays if n != stays[2])


def test_where_nothing_was_made_yet_nothing_is_removed(tmp_path):
    made = partial(tmp_path / "new" / "x.png")
    assert made.parent == tmp_path / "new" and not made.parent.exists()


def test_a_killed_figure_is_cleaned_up_by_the_next_one(tmp_path):
    code = """
import os, signal, pathlib
from rosetta_steps.display import drawing
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
drawing.save_figures({pathlib.Path("x"): drawing.new_figure(1, 1)})
"""
    job = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    left = os.listdir(tmp_path)
    assert job.returncode < 0 and len(left) == 2 and all(n.endswith(".partial") for n in left)
    drawing.save_figures({tmp_path / "x": drawing.new_figure(1, 1)})
    assert sorted(os.listdir(tmp_path)) == ["x.pdf", "x.png"]


def test_a_killed_animation_is_cleaned_up_by_the_next_one(tmp_path, dead):
    leave(tmp_path, f".x.webp.{dead}", f".y.webp.{dead}")
    write_animation([Image.new("RGB", (9, 9))], tmp_path / "x.webp", 100)
    assert sorted(os.listdir(tmp_path)) == [f".y.webp.{dead}", "x.webp"]


def test_a_figure_on_a_full_disk_is_named_with_the_remedy_and_leaves_nothing(tmp_path):
    figure = drawing.new_figure(1, 1)

    def write():
        with full_disk():
            drawing.save_figures({tmp_path / "x": figure})

    assert "x.pdf cannot be written: " in message_of(write)
    assert os.listdir(tmp_path) == []


def test_only_a_full_disk_is_said_to_be_full(tmp_path):
    with pytest.raises(PermissionError), explain_full_disk(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(StoreError, match="x cannot be written: .*make room"):  # noqa: SIM117
        with explain_full_disk(tmp_path / "x"):
            raise OSError(errno.ENOSPC, "No space left on device")
