"""A bundle opened in a notebook, from a folder or an address."""

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from rosetta_steps.runtime.advice import NO_ROOM
from rosetta_steps.runtime.errors import StoreError, UserError
from rosetta_steps.sharing.bundle import BUNDLE, read_bundle, refuse_damage
from rosetta_steps.storage.digests import digest_of, sha256_of
from rosetta_steps.storage.files import explain_full_disk
from rosetta_steps.storage.leftovers import partial
from rosetta_steps.workflow.results import Results
from rosetta_steps.zoo.weights import cache_folder, fetch_file


class Bundle(Results):
    """A published dictionary: results as `open_results` gives them, and where they come from.

    Attributes:
        folder: The bundle.
        about: What bundle.json says: models with origin and licence, settings, versions.

    Args:
        folder: The bundle.

    Raises:
        StoreError: It is none, of another format, or a file is missing or was changed.
    """

    def __init__(self, folder: str | Path):
        self.about = read_bundle(Path(folder))
        refuse_damage(Path(folder))
        super().__init__(self.about["sample_set"], folder)


def open_bundle(bundle: str | Path) -> Bundle:
    """Open a dictionary that somebody has published.

    Args:
        bundle: A folder, a zip file that holds one, or the https address of such a file. What is
            fetched or unpacked is kept in the cache, until it is deleted there.

    Raises:
        StoreError: It is no bundle, of another format, or a file is missing or was changed.
        ValueError: The address is no https address, or does not answer.

    Example:
        >>> import rosetta_steps as rs
        >>> published = rs.open_bundle("results/bundles/tiny")
        >>> published.models
        ['generator', 'one']
        >>> list(published.about["settings"])[:2]
        ['sample_set', 'neighbours']
    """
    given = str(bundle)
    if "://" not in given and not Path(given).is_file():
        return Bundle(given)
    folder = unpacked(given)
    try:
        return Bundle(folder)
    except StoreError as error:
        raise StoreError(f"{error} It is kept in {folder}: delete that first.") from None


def unpacked(archive: str) -> Path:
    """Return the folder of a bundle in a zip file, which is fetched and unpacked once.

    Args:
        archive: Its path, or its address.

    Raises:
        StoreError: It is no zip file of a bundle, or a file in it is damaged.
        ValueError: The address is no https address, or does not answer.
    """
    # Files of several records of an archive have one name, and a file may be written anew.
    remote = "://" in archive
    key = digest_of(archive) if remote else sha256_of(Path(archive))[:12]
    stem = PurePosixPath(urlsplit(archive).path if remote else archive).stem
    place = cache_folder() / "bundles" / f"{stem or 'bundle'}-{key}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with explain_full_disk(place):
            if remote:
                _fetch_and_unpack(archive, place)
            else:
                _unpack(Path(archive), place, archive)
    return _bundle_in(place, archive)


def _fetch_and_unpack(url: str, place: Path) -> None:
    archive = partial(place.with_name(f"{place.name}.zip"))
    try:
        try:
            fetch_file(url, archive)
        except UserError:
            raise
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            raise UserError(f"{url} cannot be fetched: {error}.") from None
        _unpack(archive, place, url)
    finally:
        archive.unlink(missing_ok=True)


def _unpack(archive: Path, place: Path, named: str) -> None:
    """Unpack a bundle to its place, checked, whole or not at all."""
    building = partial(place)
    try:
        try:
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(building)
        # Of an encrypted archive a RuntimeError, of an unknown compression NotImplementedError.
        except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise StoreError(f"{named} is no zip file ({error}), or is damaged.") from None
        folder = _bundle_in(building, named)
        read_bundle(folder)
        refuse_damage(folder)
        if not place.is_dir():  # another process may have been faster
            building.rename(place)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _bundle_in(place: Path, url: str) -> Path:
    found = sorted(place.rglob(BUNDLE), key=lambda path: len(path.parts))
    if not found:
        raise StoreError(f"{url} holds no bundle: there is no {BUNDLE} in it.")
    return found[0].parent
