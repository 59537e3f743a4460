"""Sample sets of image files: what a pattern means, how each kind is read, and the store."""

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from full_disk import full_disk, message_of
from PIL import Image

from rosetta_steps import image_folder as step
from rosetta_steps.stimuli import image_files, image_folder
from rosetta_steps.storage.datasets import check_dataset

SIZE = (6, 9)  # y, x, as PIXELS


def pixels(channels: int = 3, seed: int = 0, dtype="uint8") -> np.ndarray:
    """Random values over the whole range of a dtype, (y, x, channel)."""
    random = np.random.default_rng(seed)
    return random.integers(0, np.iinfo(dtype).max + 1, (*SIZE, channels), dtype=dtype)


def save(path: Path, values: np.ndarray | None = None, mode: str | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = pixels() if values is None else values
    image = Image.fromarray(values.squeeze())
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def gather(folder: Path, *patterns, output="out.zarr", **options) -> xr.Dataset:
    patterns = [str(folder / p) for p in patterns or ["photos"]]
    image_folder.gather(patterns, SIZE, folder / output, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return xr.open_zarr(check_dataset(folder / output)).load()


def test_the_store_holds_all_images_in_order_of_path(tmp_path, monkeypatch):
    monkeypatch.setattr(image_folder, "IMAGES_PER_BLOCK", 3)  # the last block is short
    files = ["b.png", "a/2.png", "a/10.png", "ä.png", "c.png", "a/é/1.png", "z.png"]
    for seed, file in enumerate(files):
        save(tmp_path / "photos" / file, pixels(seed=seed))
    samples = gather(tmp_path)
    assert list(samples["file"].values) == sorted(files)
    assert samples["image"].dims == ("image", "rgb", "y", "x")
    assert samples["image"].dtype == np.float32
    for file, picture in zip(samples["file"].values, samples["image"].values, strict=True):
        values = pixels(seed=files.index(file)) / 255
        np.testing.assert_allclose(picture, values.transpose(2, 0, 1), atol=1e-7)
    assert samples.attrs == {
        "images": json.dumps([str(tmp_path / "photos")]),
        "size": list(SIZE),
        "unreadable": "[]",
        "first_frame": "[]",
        "other_endings": "",
        "undecoded": "[]",
        "interpolation": image_files.INTERPOLATION,
    }


def photos(folder: Path, count: int = 5, unreadable: int = 0) -> None:
    (folder / "photos").mkdir()
    for seed in range(count):
        save(folder / "photos" / f"{seed}.png", pixels(seed=seed))
    for number in range(unreadable):
        (folder / "photos" / f"1-{number:02}.png").write_text("no image")


def test_one_error_lists_the_files_that_cannot_be_read_and_leaves_nothing(tmp_path):
    photos(tmp_path, unreadable=23)
    with pytest.raises(ValueError, match=r"23 of 28 files .* cannot be read:") as error:
        gather(tmp_path)
    lines = str(error.value).splitlines()
    assert lines[1] == "  1-00.png: no image in a format that Pillow decodes"
    assert lines[20:22] == [lines[1].replace("00", "19"), "  and 3 more"]
    assert "--unreadable skip" in lines[22]
    assert os.listdir(tmp_path) == ["photos"]


def test_skipped_files_are_listed_on_stderr_and_in_the_store(tmp_path, capsys):
    photos(tmp_path, unreadable=1)
    (tmp_path / "photos" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    samples = gather(tmp_path, unreadable="skip")
    assert list(samples["file"].values) == [f"{i}.png" for i in range(5)]
    assert json.loads(samples.attrs["unreadable"]) == [
        "1-00.png: no image in a format that Pillow decodes",
        r"\udcff.png: its name is not UTF-8; rename it",
    ]
    assert "2 files left out:\n  1-00.png: no image in a format" in capsys.readouterr().err


def test_files_with_other_endings_are_counted_and_images_among_them_named(tmp_path, capsys):
    photos(tmp_path)
    for name in ("IMG_1.HEIC", "IMG_2.heic", "scan.cr2", "logo.svg", "notes.txt", ".hidden.heic"):
        (tmp_path / "photos" / name).write_bytes(b"x")
    (tmp_path / "photos" / os.fsdecode(b"\xff.jxl")).write_bytes(b"x")
    samples = gather(tmp_path)
    assert samples.sizes["image"] == 5
    assert samples.attrs["other_endings"].split(", ")[0] == "2 .heic"
    named = ["IMG_1.HEIC", "IMG_2.heic", "logo.svg", "scan.cr2", r"\udcff.jxl"]
    assert json.loads(samples.attrs["undecoded"]) == named
    said = capsys.readouterr().err
    assert "6 files with other endings were left out: 2 .heic, 1 " in said
    assert "5 of them are images in formats that Pillow does not decode here:\n  IMG_1" in said
    assert "Convert images of other formats to .jpg or .png" in said


def test_a_folder_of_formats_that_are_not_decoded_is_refused_with_the_reason(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / "photos" / f"{number}.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no image below .*\(files: 3 with \.heic\)\. .* Convert"):
        gather(tmp_path)
    assert os.listdir(tmp_path) == ["photos"]


def test_animations_are_listed_on_stderr_and_in_the_store(tmp_path, capsys):
    photos(tmp_path)
    frames = [Image.new("RGB", (9, 6), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / "photos" / "9.gif", save_all=True, append_images=frames[1:])
    assert json.loads(gather(tmp_path).attrs["first_frame"]) == ["9.gif"]
    assert "Of 1 files with several frames or pages" in capsys.readouterr().err


def test_a_limit_counts_the_readable_images(tmp_path):
    photos(tmp_path, unreadable=2)
    samples = gather(tmp_path, limit=3, unreadable="skip")
    assert list(samples["file"].values) == ["0.png", "1.png", "2.png"]


def test_fewer_readable_images_than_asked_for_are_refused(tmp_path):
    photos(tmp_path, 3, unreadable=2)
    with pytest.raises(ValueError, match="4 images were asked for, and .*photos has 3 .* of 5"):
        gather(tmp_path, limit=4, unreadable="skip")
    assert os.listdir(tmp_path) == ["photos"]


@pytest.mark.parametrize(("readable", "unreadable"), [(1, 0), (1, 3), (0, 2)])
def test_fewer_than_two_readable_images_are_refused(tmp_path, readable, unreadable):
    photos(tmp_path, readable, unreadable)
    with pytest.raises(ValueError, match=f"{readable} readable of .*needs at least two"):
        gather(tmp_path, unreadable="skip")
    assert os.listdir(tmp_path) == ["photos"]


@pytest.mark.parametrize(("size", "limit"), [((0, 4), None), ((4, 4), 0)])
def test_a_size_or_limit_below_one_is_refused(tmp_path, size, limit):
    with pytest.raises(ValueError, match="expected numbers of at least 1"):
        image_folder.gather([str(tmp_path)], size, tmp_path / "out.zarr", limit=limit)


def test_no_more_than_a_block_of_pictures_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(image_folder, "IMAGES_PER_BLOCK", 2)
    written, original = [], image_folder._append

    def append(store, block, first, of_class, width):
        written.append(len(block))
        original(store, block, first, of_class, width)

    monkeypatch.setattr(image_folder, "_append", append)
    photos(tmp_path)
    gather(tmp_path)
    assert written == [2, 2, 1]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    photos(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "_append", full_disk(100)(image_folder._append))
        message = message_of(lambda: gather(tmp_path))
    assert f"{tmp_path / 'out.zarr'} cannot be written" in message
    assert os.listdir(tmp_path) == ["photos"]
    assert gather(tmp_path).sizes["image"] == 5


def test_a_killed_job_leaves_nothing_that_looks_done_and_the_next_one_clears_up(tmp_path):
    photos(tmp_path)
    code = """
import os, signal, pathlib
from rosetta_steps.stimuli import image_folder
image_folder.IMAGES_PER_BLOCK = 2
append = image_folder._append
def killed(store, block, first, *others):
    append(store, block, first, *others)
    if not first: os.kill(os.getpid(), signal.SIGKILL)
image_folder._append = killed
image_folder.gather(["photos"], (6, 9), pathlib.Path("o.zarr"))
"""
    job = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert job.returncode == -signal.SIGKILL
    left = [name for name in os.listdir(tmp_path) if name != "photos"]
    assert len(left) == 1 and left[0].startswith(".o.zarr.building-")
    assert gather(tmp_path, output="o.zarr").sizes["image"] == 5
    assert sorted(os.listdir(tmp_path)) == ["o.zarr", "o.zarr.done.json", "photos"]


def test_the_command_line_writes_the_store(tmp_path, monkeypatch):
    photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    command = "image_folder --images photos/[0-2].png photos/4.png --size 6 9 --output out.zarr"
    monkeypatch.setattr(sys, "argv", command.split())
    step.main()
    samples = xr.open_zarr(check_dataset(tmp_path / "out.zarr"))
    assert list(samples["file"].values) == ["0.png", "1.png", "2.png", "4.png"]


def of_classes(tmp_path, **counts):
    for wordnet, count in counts.items():
        (tmp_path / "val" / wordnet).mkdir(parents=True)
        for index in range(count):
            colour = (10 * index, 0, 0)
            Image.new("RGB", (9, 9), colour).save(tmp_path / "val" / wordnet / f"{index}.png")
    return [str(tmp_path / "val")]


def test_so_many_of_every_class_of_imagenet_with_their_labels(tmp_path):
    folders = of_classes(tmp_path, n01443537=4, n01440764=3)
    image_folder.gather(folders, (8, 8), tmp_path / "x.zarr", per_class=2)
    store = xr.open_zarr(tmp_path / "x.zarr")
    assert store["label"].values.tolist() == [0, 0, 1, 1]  # tench and goldfish
    assert [str(f) for f in store["file"].values] == [
        "n01440764/0.png",
        "n01440764/1.png",
        "n01443537/0.png",
        "n01443537/1.png",
    ]


def test_a_class_with_fewer_images_than_asked_is_named(tmp_path):
    folders = of_classes(tmp_path, n01443537=4, n01440764=3)
    with pytest.raises(ValueError, match="1 folders .* fewer than 4 readable images: n01440764"):
        image_folder.gather(folders, (8, 8), tmp_path / "x.zarr", per_class=4)
    alone = [str(tmp_path / "val" / "n01440764")]
    with pytest.raises(ValueError, match="1 folders .* fewer than 4 readable images: n01440764"):
        image_folder.gather(alone, (8, 8), tmp_path / "x.zarr", per_class=4)
    assert not (tmp_path / "x.zarr").exists()


def test_a_folder_that_is_no_class_is_refused_where_classes_are_asked_for(tmp_path):
    with pytest.raises(ValueError, match="its folder 'tench' is no class of ImageNet"):
        image_folder.gather(of_classes(tmp_path, tench=2), (8, 8), tmp_path / "x.zarr", per_class=2)


def test_images_that_are_all_the_same_are_refused_and_one_that_differs_is_enough(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(40):
        save(tmp_path / f"photos/{number}.png", pixels(seed=1))
    with pytest.raises(ValueError, match="all 40 images of .* are the same: nothing varies"):
        gather(tmp_path)
    assert not (tmp_path / "out.zarr").exists()
    save(tmp_path / "photos/9.png", pixels(seed=2))  # the last by path
    assert gather(tmp_path).sizes["image"] == 40
