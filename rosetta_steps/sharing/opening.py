"""A bundle opened in a notebook, from a folder or an address."""

import zipfile
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from rosetta_steps.runtime.errors import StoreError
from rosetta_steps.sharing.bundle import BUNDLE, read_bundle, refuse_damage
from rosetta_steps.storage.files import whole_file
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
        bundle: A folder, or the https address of a zip file that holds one. What is fetched is
            kept in the cache, and fetched again only when it is deleted there.

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
    return Bundle(fetched(given) if "://" in given else Path(bundle))


def fetched(url: str) -> Path:
    """Return the folder of a bundle at an address, which is fetched once.

    Raises:
        StoreError: It is no zip file of a bundle.
        ValueError: The address is no https address, or does not answer.
    """
    name = PurePosixPath(urlsplit(url).path).name or "bundle.zip"
    place = cache_folder() / "bundles" / urlsplit(url).netloc / name.removesuffix(".zip")
    if place.is_dir():
        return _bundle_in(place, url)
    archive = place.with_name(name)
    with whole_file(archive) as temporary:
        fetch_file(url, temporary)
    unpacked = partial(place)
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(unpacked)
    except zipfile.BadZipFile as error:
        raise StoreError(f"{url} is no zip file ({error}).") from None
    finally:
        archive.unlink()
    unpacked.rename(place)
    return _bundle_in(place, url)


def _bundle_in(place: Path, url: str) -> Path:
    found = sorted(place.rglob(BUNDLE), key=lambda path: len(path.parts))
    if not found:
        raise StoreError(f"{url} holds no bundle: there is no {BUNDLE} in it. Delete {place}.")
    return found[0].parent
