"""How image files are read, and what a pattern of them means."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from rosetta_steps.stimuli.image_files import (
    UnreadableImage,
    folder_digest,
    matched_files,
    read_image,
)

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
