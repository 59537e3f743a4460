"""Sample sets of image files: what a pattern means, how each kind is read, and the store."""

import json
import os
import signal
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from full_disk import full_disk, message_of
from PIL import Image, ImageOps

from rosetta_steps import image_folder
from rosetta_steps.stimuli import image_files
from rosetta_steps.stimuli.image_files import (
    UnreadableImage,
    folder_digest,
    matched_files,
    read_image,
)
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


def png(bits: int, colour: int, width: int, height: int, rows: bytes) -> bytes:
    """A PNG file by hand, for what Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def read(path: Path, size=SIZE) -> np.ndarray:
    """As (y, x, rgb)."""
    picture, _ = read_image(path, size)
    assert picture.shape == (3, *size) and picture.dtype == np.float32
    return picture.transpose(1, 2, 0)


def reason(path: Path) -> str:
    with pytest.raises(UnreadableImage) as error:
        read_image(path, SIZE)
    return str(error.value)


def gather(folder: Path, *patterns, output="out.zarr", **options) -> xr.Dataset:
    patterns = [str(folder / p) for p in patterns or ["photos"]]
    image_folder.gather(patterns, SIZE, folder / output, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return xr.open_zarr(check_dataset(folder / output)).load()


# How a file is read


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.tga", "a.JP2"])
def test_eight_bits_are_scaled_by_255(tmp_path, name):
    options = {"irreversible": False} if name == "a.JP2" else {}
    path = save(tmp_path / name, **options)
    np.testing.assert_allclose(read(path), pixels() / 255, atol=1e-7)


def test_grey_is_the_same_in_all_three_channels(tmp_path):
    grey = pixels(1)
    path = save(tmp_path / "a.png", grey)
    np.testing.assert_allclose(read(path), np.repeat(grey / 255, 3, 2), atol=1e-7)


def test_one_bit_is_black_and_white(tmp_path):
    bits = pixels(1) > 127
    path = save(tmp_path / "a.png", bits)
    np.testing.assert_array_equal(read(path), np.repeat(bits, 3, 2).astype(np.float32))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bit_grey_is_scaled_by_65535_and_keeps_its_steps(tmp_path, name):
    grey = pixels(1, dtype="uint16")
    path = save(tmp_path / name, grey)
    np.testing.assert_allclose(read(path), np.repeat(grey / 65535, 3, 2), atol=1e-7)


def test_of_sixteen_bit_colour_pillow_keeps_the_upper_eight_bits(tmp_path):
    values = pixels(dtype="uint16")
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(16, 2, SIZE[1], SIZE[0], rows))
    np.testing.assert_allclose(read(tmp_path / "a.png"), (values >> 8) / 255, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_values_whose_white_is_not_known_are_refused(tmp_path, dtype):
    save(tmp_path / "a.tif", pixels(1).astype(dtype))
    assert "white is not known; save it with 8 or 16 bits" in reason(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_of_an_inverted_jpeg_and_of_a_tiff_are_the_same_red(tmp_path, name):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / name)
    if name == "a.jpg":
        assert b"Adobe" in (tmp_path / name).read_bytes()
    np.testing.assert_allclose(read(tmp_path / name), np.broadcast_to([1, 0, 0], (*SIZE, 3)))


def test_transparency_lies_on_white(tmp_path):
    values = pixels(4)
    path = save(tmp_path / "a.png", values)
    alpha = values[..., 3:] / 255
    expected = values[..., :3] / 255 * alpha + (1 - alpha)
    np.testing.assert_allclose(read(path), expected, atol=1 / 255)


@pytest.mark.parametrize("mode", ["LA", "PA"])
def test_transparent_grey_and_palettes_are_white_where_nothing_is(tmp_path, mode):
    Image.new("RGBA", (9, 6)).convert(mode).save(tmp_path / "a.tif")
    assert (read(tmp_path / "a.tif") == 1).all()


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_a_transparent_entry_of_a_palette_is_white(tmp_path, name):
    index = Image.fromarray((pixels(1)[..., 0] > 127).astype("uint8"))
    image = Image.frombytes("P", index.size, index.tobytes())
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / name, transparency=0)
    colours = np.array([[1, 1, 1], [0, 0, 1]])
    np.testing.assert_allclose(read(tmp_path / name), colours[np.asarray(index)])


def test_a_transparent_colour_of_an_rgb_png_is_white(tmp_path):
    values = pixels()
    path = save(tmp_path / "a.png", values, transparency=tuple(int(v) for v in values[2, 3]))
    values[2, 3] = 255
    np.testing.assert_allclose(read(path), values / 255, atol=1e-7)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.apng", "a.tif"])
def test_the_first_frame_of_several_is_taken(tmp_path, name):
    frames = [Image.new("RGB", (9, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    picture, several = read_image(tmp_path / name, SIZE)
    assert several
    np.testing.assert_allclose(picture[:, 0, 0], [1, 0, 0])


def test_a_phones_mpo_is_one_picture(tmp_path):
    frames = [Image.new("RGB", (9, 6), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    picture, several = read_image(tmp_path / "a.jpg", SIZE)
    assert not several
    np.testing.assert_allclose(picture[:, 0, 0], [1, 0, 0], atol=0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("name", "dtype"), [("a.png", "uint8"), ("a.png", "uint16")])
def test_pictures_are_upright_as_exif_says(tmp_path, orientation, name, dtype):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / name, pixels(1, dtype=dtype), exif=exif)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    white = np.iinfo(dtype).max
    np.testing.assert_allclose(read(path, upright.shape)[..., 0], upright / white, atol=1e-7)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.webp"])
def test_orientation_is_applied_once_in_every_format(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its left side: the top of the picture is at the left
    image = Image.new("RGB", (64, 32), "white")
    image.paste("black", (0, 0, 32, 32))
    image.save(tmp_path / name, exif=exif)
    picture = read(tmp_path / name, (64, 32))
    assert picture[:28].max() < 0.1 and picture[36:].min() > 0.9


def test_damaged_exif_leaves_the_picture_as_it_is_stored(tmp_path):
    path = save(tmp_path / "a.png", exif=b"Exif\0\0 no exif")
    np.testing.assert_allclose(read(path), pixels() / 255, atol=1e-7)


@pytest.mark.parametrize("size", [(24, 20), (48, 80), (50, 31)])
def test_the_whole_image_is_resized_as_torch_does_it(tmp_path, size):
    values = np.random.default_rng(1).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    path = save(tmp_path / "a.png", values)
    image = torch.from_numpy(values).permute(2, 0, 1)[None].double() / 255
    expected = torch.nn.functional.interpolate(image, size, mode="bicubic", antialias=True)
    expected = expected.clamp(0, 1)[0].permute(1, 2, 0)
    np.testing.assert_allclose(read(path, size), expected, atol=2e-6)


# What cannot be read


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {}),
        ("a.jpg", {"progressive": True}),
        ("a.png", {}),
        ("a.gif", {}),
        ("a.webp", {}),
        ("a.tif", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.bmp", {}),
    ],
)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # on the tags of a truncated TIFF
def test_a_truncated_file_is_no_picture(tmp_path, name, options, part):
    values = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / name, values, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert reason(path)


def test_what_is_no_image_says_why(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "bomb.png").write_bytes(png(1, 0, 30000, 30000, b""))
    (tmp_path / "program.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert reason(tmp_path / "text.jpg") == "no image in a format that Pillow decodes"
    assert reason(tmp_path / "empty.jpg") == "the file is empty"
    assert reason(tmp_path / "folder.jpg").startswith("a folder, not a file")
    assert reason(tmp_path / "link.jpg") == "a link to nowhere.jpg, which does not exist"
    assert reason(tmp_path / "pipe.jpg") == "not a regular file"
    assert "exceeds limit of 178956970 pixels" in reason(tmp_path / "bomb.png")
    assert reason(tmp_path / "program.jpg") == "no image in a format that Pillow decodes"
    assert reason(tmp_path / "gone.jpg") == "No such file or directory"


def test_a_file_without_permission_says_so(tmp_path, monkeypatch):
    save(tmp_path / "a.png").chmod(0)
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    root = os.geteuid() == 0  # whom permissions do not stop
    if root:
        os.seteuid(65534)
    try:
        assert reason(Path("a.png")) == "Permission denied"
    finally:
        if root:
            os.seteuid(0)


# What a pattern means


def names(folder: Path, *patterns) -> list[str]:
    return matched_files([str(folder / pattern) for pattern in patterns])[1]


def test_a_folder_means_all_images_below_it_and_nothing_else(tmp_path):
    for name in ["b.JPG", "a/c.png", "a/d/e.webp", ".hidden.png", "a/._c.png", ".trash/f.png"]:
        save(tmp_path / name)
    for name in ["readme.txt", "a/maps.h5", "a/figure.pdf", "plain"]:
        (tmp_path / name).write_text("")
    (tmp_path / "folder.jpg").mkdir()
    assert names(tmp_path, ".") == ["a/c.png", "a/d/e.webp", "b.JPG"]


def test_a_glob_means_every_file_it_matches(tmp_path):
    for name in ["b.jpg", "a/c.jpg", "a/d/e.jpg", "a/f.txt"]:
        save(tmp_path / name, format="PNG")
    assert names(tmp_path, "*.jpg") == ["b.jpg"]
    assert names(tmp_path, "**/*.jpg") == ["a/c.jpg", "a/d/e.jpg", "b.jpg"]
    assert names(tmp_path, "**") == ["a/c.jpg", "a/d/e.jpg", "a/f.txt", "b.jpg"]
    assert names(tmp_path, "*") == ["a", "b.jpg"]  # a folder, refused when it is read


def test_a_name_that_looks_like_a_glob_is_taken_literally_if_it_exists(tmp_path):
    save(tmp_path / "[1]" / "a*.png")
    save(tmp_path / "[1]" / "ab.png")
    assert names(tmp_path, "[1]") == ["a*.png", "ab.png"]
    assert names(tmp_path, "[1]/a*.png") == ["a*.png"]


def test_a_file_matched_twice_counts_once(tmp_path, monkeypatch):
    save(tmp_path / "photos" / "a.png")
    save(tmp_path / "photos" / "z.png")
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "photos" / "loop").symlink_to(".")
    monkeypatch.chdir(tmp_path)
    patterns = ["photos", "photos/*.png", str(tmp_path / "photos"), "photos/../photos/**/*.png"]
    assert matched_files(patterns) == (tmp_path / "photos", ["a.png", "z.png"])
    assert matched_files(["photos", "link"]) == (tmp_path / "link", ["a.png", "z.png"])


def test_a_pattern_that_matches_nothing_is_named_with_the_working_folder(tmp_path, monkeypatch):
    save(tmp_path / "a.JPG")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"no file matches '\*\.jpg' in .*{tmp_path}"):
        matched_files(["*.JPG", "*.jpg"])


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    for name in ["a.heic", "b.heic", "c.txt"]:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"files: 2 with \.heic, 1 with \.txt"):
        matched_files([str(tmp_path)])


def test_the_digest_follows_names_sizes_and_times(tmp_path):
    for name in "ab":
        os.utime(save(tmp_path / "photos" / f"{name}.png"), ns=(10**18, 10**18))
    (tmp_path / "photos" / "readme.txt").touch()

    def digest():
        return folder_digest([str(tmp_path / "photos")])

    seen = [digest()]
    (tmp_path / "photos" / "readme.txt").write_text("no image")
    assert digest() == seen[0]
    os.utime(tmp_path / "photos" / "a.png", ns=(10**18, 10**18 + 1))
    seen.append(digest())
    os.utime(save(tmp_path / "photos" / "a.png", pixels()[:2]), ns=(10**18, 10**18 + 1))
    seen.append(digest())
    (tmp_path / "photos" / "a.png").rename(tmp_path / "photos" / "c.png")
    seen.append(digest())
    (tmp_path / "photos" / "d.png").symlink_to("nowhere")
    seen.append(digest())
    assert len(set(seen)) == len(seen)


def test_the_digest_needs_neither_torch_nor_xarray():
    code = "import sys; from rosetta_steps.stimuli.image_files import folder_digest"
    code += "; sys.exit(not {'torch', 'xarray', 'zarr'}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


# The store


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
        image_folder.gather([str(tmp_path)], size, tmp_path / "out.zarr", limit)


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
from rosetta_steps import image_folder
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
    image_folder.main()
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
