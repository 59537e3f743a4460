"""Settings of steps, said once: options, schema, bounds and the config agree."""

import argparse
from dataclasses import dataclass, fields

import pytest
import yaml
from conftest import ROOT

from rosetta_steps.config.options import (
    add_options,
    check,
    names_in_config,
    options_from,
    schema_of,
    setting,
)
from rosetta_steps.config.schema import check as check_schema
from rosetta_steps.config.schema import read_schema
from rosetta_steps.correlation import precision, settings
from rosetta_steps.workflow.schemas import COMMAND, SECTIONS, generated


@dataclass(frozen=True)
class Kinds:
    """One of each."""

    word: str = setting("one", "a word", choices=("one", "two"))
    count: int = setting(3, "of things", minimum=1, maximum=9)
    share: float = setting(0.5, "of all", above=0, maximum=1)
    here: int = setting(0, "on the command line alone", config=False)

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class Switch:
    """Nothing but a switch."""

    on: bool = setting(False, "whether it is on")


def test_a_switch_is_an_option_without_a_value_and_a_boolean_in_the_config():
    parser = argparse.ArgumentParser()
    add_options(parser, Switch)
    for words, on in (([], False), (["--on"], True), (["--no-on"], False)):
        assert options_from(parser.parse_args(words), Switch) == Switch(on)
    on = {"type": "boolean", "description": "whether it is on"}
    assert schema_of(Switch)["properties"] == {"on": on}


def parsed(*words, **defaults):
    parser = argparse.ArgumentParser()
    add_options(parser, Kinds, **defaults)
    return parser.parse_args(words)


def test_options_give_the_settings_back():
    assert options_from(parsed(), Kinds) == Kinds()
    words = ["--word", "two", "--count", "4", "--share", "1", "--here", "5"]
    assert options_from(parsed(*words), Kinds) == Kinds("two", 4, 1.0, 5)
    assert options_from(parsed(count=7), Kinds).count == 7


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"word": "three"}, "word: 'three' is none of one, two"),
        ({"count": 0}, "count: 0 must be at least 1 and at most 9"),
        ({"share": 0}, "share: 0 must be above 0 and at most 1"),
        ({"share": float("nan")}, "share: nan must be above 0 and at most 1"),
        ({"here": float("inf")}, "here: inf must be finite"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_with_them(values, words):
    with pytest.raises(ValueError, match=words):
        Kinds(**values)


def test_a_schema_says_kinds_bounds_and_words():
    schema = schema_of(Kinds, optional=["share"])
    assert schema["required"] == ["word", "count"] and "here" not in schema["properties"]
    assert schema["properties"]["word"] == {"enum": ["one", "two"], "description": "a word"}
    count = {"type": "integer", "minimum": 1, "maximum": 9, "description": "of things"}
    assert schema["properties"]["count"] == count
    assert schema["properties"]["share"]["exclusiveMinimum"] == 0


@pytest.mark.parametrize("file", generated(), ids=lambda file: file.stem)
def test_a_schema_in_the_repository_is_that_of_the_settings_or_of_the_loaders(file):
    assert file.read_text() == generated()[file], f"run {COMMAND}"


@pytest.mark.parametrize("section", SECTIONS)
def test_our_config_and_the_defaults_of_steps_say_the_same(section):
    """So that a step by hand does what the workflow does."""
    kind, _ = SECTIONS[section]
    chosen = yaml.safe_load((ROOT / "config/config.yaml").read_text())[section]
    defaults = {one.name: one.default for one in fields(kind)}
    named = [name for name in names_in_config(kind) if name in chosen]
    assert {name: chosen[name] for name in named} == {name: defaults[name] for name in named}


def test_an_inversion_may_have_its_own_value_of_every_setting_that_all_share():
    sections = read_schema("config")["properties"]
    own = sections["inversions"]["additionalProperties"]["properties"]
    assert sections["inversion"]["properties"].keys() <= own.keys()


def test_every_precision_has_a_dtype():
    assert set(settings.PRECISIONS) == set(precision.PRECISIONS)


@pytest.mark.parametrize(
    ("place", "old", "new"),
    [
        (("clustering",), "least_correlation", "min_correlation"),
        (("inversion",), "guided", "guidance_fraction"),
        (("inversion",), "towards", "regularise_to"),
        (("activations",), "keep", "store"),
        (("sample_sets", "faces"), "keep", "store"),
    ],
)
def test_a_key_of_version_0_1_is_refused_with_its_new_name(place, old, new):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    inner = config
    for key in place:
        inner = inner[key]
    inner[old] = inner.pop(new, 1)
    with pytest.raises(ValueError, match=f"unknown key '{old}'. Since .* it is called {new}"):
        check_schema(config, "config", "config.yaml")
