"""environment.yml, for conda, and pyproject.toml, for pip, ask for the same versions."""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PYPI_NAME_OF_CONDA_PACKAGE = {"pytorch": "torch"}
ONLY_IN_CONDA = {"python", "pip"}
LOCAL_INSTALLS = ["-e .[test]", "./workflow/launcher"]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
CONDA_LINES = [line for line in ENVIRONMENT if isinstance(line, str)]
PIP_LINES = [line for entry in ENVIRONMENT if isinstance(entry, dict) for line in entry["pip"]]


def by_name(requirements: list[Requirement]) -> dict[str, SpecifierSet]:
    return {canonicalize_name(r.name): r.specifier for r in requirements}


def conda_requirement(line: str) -> Requirement:
    """Read conda's `name=1.2.*` as pip's `name==1.2.*`, and its name for a package as PyPI's."""
    requirement = Requirement(re.sub(r"(?<![=<>!~])=(?!=)", "==", line))
    requirement.name = PYPI_NAME_OF_CONDA_PACKAGE.get(requirement.name, requirement.name)
    return requirement


def pins_of_pyproject() -> dict[str, SpecifierSet]:
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    return by_name([Requirement(line) for line in lines])


def pins_of_environment() -> dict[str, SpecifierSet]:
    conda = by_name([conda_requirement(line) for line in CONDA_LINES])
    pip = by_name([Requirement(line) for line in PIP_LINES if line not in LOCAL_INSTALLS])
    assert not conda.keys() & pip.keys(), "asked of both conda and pip"
    return {name: pin for name, pin in (conda | pip).items() if name not in ONLY_IN_CONDA}


@pytest.mark.parametrize("name", sorted(pins_of_pyproject()))
def test_environment_has_the_pin_of_pyproject(name):
    assert pins_of_environment().get(name) == pins_of_pyproject()[name]


def test_environment_has_nothing_that_pyproject_lacks():
    assert pins_of_environment().keys() - pins_of_pyproject().keys() == set()


def test_python_is_the_same():
    (python,) = (r for r in map(conda_requirement, CONDA_LINES) if r.name == "python")
    assert python.specifier == SpecifierSet(PROJECT["requires-python"])


def test_the_package_and_then_the_launcher_are_installed_last():
    assert PIP_LINES[-2:] == LOCAL_INSTALLS


def test_the_launcher_asks_for_the_same_snakemake():
    launcher = tomllib.loads((ROOT / "workflow/launcher/pyproject.toml").read_text())
    launcher_pins = by_name([Requirement(line) for line in launcher["project"]["dependencies"]])
    assert launcher_pins == {"snakemake": pins_of_pyproject()["snakemake"]}
