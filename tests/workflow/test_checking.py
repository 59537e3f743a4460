"""What a config and a zoo may say: odd values are refused in one line, edges are not."""

import copy
import inspect
import math
import random
import re

import pytest
import yaml
from conftest import ROOT
from odd_values import changed, drawn, edges, leaves, named, schema_of
from own_configs import EXAMPLES, FILE, laid_over, with_examples

from rosetta_steps.config import names
from rosetta_steps.config.places import COMMAND_LINE, Origins, read_origins
from rosetta_steps.config.schema import check
from rosetta_steps.config.yaml_files import read_yaml
from rosetta_steps.workflow.checking import Checked, check_config, settled
from rosetta_steps.zoo.entries import find_entry, read_entries

BASE = with_examples()
FACES = ("sample_sets", "faces")
# What stands for any name when a value is drawn: things that the config has.
NAMES = {
    "sample_sets": "faces",
    "inversions": "faces-heldout",
    "tables": "table1",
    "edits": "shift",
    "edit_figures": "figure8",
    "replications": "faces-again",
}


def refusal(config, origins=None):
    """The one line with which a config is refused; None if it is not."""
    origins = origins or Origins(((FILE, config),))
    try:
        check_config(settled(config, origins), origins)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500, str(error)
        return str(error)
    return None


def with_(**changes):
    """The ready config, with other values: faces__images=3 of sample_sets.faces.images."""
    config = BASE
    for place, value in changes.items():
        config = changed(config, tuple(place.split("__")), value)
    return config


def of_faces(**changes):
    config = BASE
    for key, value in changes.items():
        config = changed(config, (*FACES, key), value)
    return config


@pytest.mark.parametrize("file", [*EXAMPLES, "config/examples/paper.yaml", None])
def test_our_own_configs_pass(file):
    origins = read_origins([FILE, *([file] if file else [])])
    config = {}
    for _, part in origins.parts:
        config = laid_over(config, part)
    assert refusal(config, origins) is None


DRAWN = drawn("config", NAMES, number=250, seed=24)


def test_values_drawn_from_the_schema_that_are_wrong_in_kind_or_bound_are_refused_in_one_line():
    accepted = []
    for place, value in DRAWN:
        said = refusal(changed(BASE, place, value))
        if said is None:
            accepted.append((place, value))
            continue
        assert said.startswith(f"{FILE}, at "), said
        assert place[0] in said or place[-1] in said, (place, value, said)
    assert not accepted
    assert len({place for place, _ in DRAWN}) > 50


def test_values_at_the_edge_of_what_is_allowed_pass_the_schema():
    tried = 0
    for place, schema in leaves(schema_of("config")):
        for value in edges(schema):
            check(changed(BASE, named(place, NAMES), value), "config", FILE)
            tried += 1
    assert tried > 80


def test_every_key_that_is_required_is_missed_by_name_and_unknown_keys_are_refused():
    for place, schema in [((), schema_of("config")), *leaves(schema_of("config"))]:
        concrete = named(place, NAMES)
        if schema.get("type") != "object" or "properties" not in schema:
            continue
        for key in schema.get("required", []):
            config = copy.deepcopy(BASE)
            inner = config
            for part in concrete:
                inner = inner[part]
            inner.pop(key, None)
            assert f"'{key}' is a required property" in refusal(config), key
        said = refusal(changed(BASE, (*concrete, "nonsens"), 1))
        assert "unknown key 'nonsens'" in said


COMBINATIONS = [
    (of_faces(images=10, images_per_class=2), "'images_per_class' says nothing of generator"),
    (of_faces(images=2, store="all", seed=2**32), "below 2\\^32"),
    (of_faces(latent_bound=1e-300), "less than the minimum of 0.001"),
    (of_faces(truncation=0.5), "cannot be truncated"),
    (of_faces(**{"class": 0}), "dcgan-digiface has no classes"),
    (of_faces(layers=[]), "should be non-empty"),
    (of_faces(models=["open-nsfw", "open-nsfw"]), "non-unique"),
    (of_faces(models=["dcgan-digiface"]), "is a generator, not a model"),
    (
        with_(sample_sets__mine=BASE["sample_sets"]["faces"] | {"generator": "open-nsfw"},
              sample_set="mine"),
        "is a model, not a generator",
    ),
    (of_faces(models=["a--b"]), "'a--b' is a pair of models"),
    (changed(BASE, ("sample_sets", "eyes", "generator"), "a/b"), "no model can be called 'a/b'"),
    (of_faces(models=["open-nsfw.untrained-0"]), "is an untrained copy of open-nsfw: `untrained"),
    (of_faces(untrained=-1), "untrained: -1 is less than the minimum of 0"),
    (of_faces(untrained="three"), "untrained: 'three' is not of type 'integer'"),
    (of_faces(untrained=2.5), "untrained: 2.5 is not of type 'integer'"),
    (
        changed(BASE, ("sample_sets", "faces-heldout", "untrained"), 3),
        "'untrained' is the number of untrained copies of each model, and it has no model: give",
    ),
    (with_(correlation__splits=401), "401 splits of the 800 images of faces"),
    (
        changed(with_(correlation__splits=2), ("correlation", "keep"), "nearest"),
        "2 splits are kept as tables",
    ),
    (
        changed(with_(correlation__keep="nearest"), ("evidence", "spread"), True),
        "correlation.keep is nearest. Set keep: table, or spread: false",
    ),
    (with_(activations__images_per_shard=801), "Take at most 800"),
    (with_(neighbours=10**9), "greater than the maximum"),
    (with_(correlation__memory_gb=math.nan), "is not finite"),
    (with_(correlation__scheduler="{x}"), "tcp://node1:8786"),
    (with_(clustering__min_correlation=-1e-9), "next to nothing"),
    (with_(zoo="config"), "at zoo: config: is a folder"),
    (with_(zoo="nowhere.yaml"), "at zoo: nowhere.yaml does not exist"),
    (with_(sample_set="faces-heldout"), "faces-heldout is not mined"),
    (with_(sample_set="facs"), "no sample set 'facs'. Did you mean 'faces'"),
    (with_(sample_set=2024), "Put it in quotes: '2024'"),
    (with_(inversion__space="w"), "has no mapping network, so no w"),
    (with_(inversion__neighbours=6), "K = 5"),
    (with_(inversion__perceptual_network="nothing"), "no model 'nothing'"),
    (
        with_(inversion__metrics=["dcgan-digiface"]),
        r"at inversion.metrics: no metric 'dcgan-digiface', and no model of that name in config/",
    ),
    (
        with_(inversion__metrics=["smim"]),
        r"at inversion.metrics: no metric 'smim'.*Did you mean 'ssim'",
    ),
    (
        changed(BASE, ("inversions", "faces-heldout", "metrics"), ["psnrr"]),
        r"at inversions.faces-heldout.metrics: no metric 'psnrr'.*Did you mean 'psnr'",
    ),
    (with_(inversion__arms=["each", "open-nsfw"]), "open-nsfw is in each as well"),
    (with_(tables__x="nothing"), "no inversion 'nothing'"),
    (changed(BASE, ("inversions", "faces-heldout", "matches"), "faces-photos"), "is of photos"),
    (changed(BASE, ("inversions", "faces-heldout", "arms"), ["al"]), "no arm 'al'"),
    (changed(BASE, ("edits", "shift", "images"), [64]), "which has images 0 to 63"),
    (changed(BASE, ("edits", "shift", "shift"), [0, 0]), "changes nothing"),
    (changed(BASE, ("edits", "shift", "factor"), 2), "says nothing of shift"),
    (changed(BASE, ("edits", "shift", "source"), "a/b/c"), "neither a sample set nor inversion/"),
    (changed(BASE, ("edits", "shift", "source"), "faces-photos"), "has no latents"),
    (changed(BASE, ("edits", "shift", "source"), "eyes-blue"), "latents are of cdcgan-eyes"),
    (changed(BASE, ("edits", "photo-paint-red", "source"), "faces-photos/x"), "has no arm 'x'"),
    (changed(BASE, ("edits", "amplify-red", "factor"), 1), "a factor of 1 changes nothing"),
    (changed(BASE, ("edits", "amplify-red", "units"), ["main.2:3"]), "units or concepts, not both"),
    (changed(BASE, ("edits", "p"), BASE["edits"]["shift"] | {"edit": "paint"}), "'shift' says"),
    (
        with_(edits__p={"matches": "faces", "source": "faces-edits", "edit": "paint"}),
        "paint needs a mask",
    ),
    (changed(BASE, ("edit_figures", "x"), ["zoom"]), "no edit 'zoom'. Did you mean 'zoom-in'"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "words"), COMBINATIONS)
def test_values_that_cannot_go_together_are_refused_by_place_with_a_remedy(config, words):
    said = refusal(config)
    assert said and re.search(words, said), said
    assert said.startswith(f"{FILE}, at ")


@pytest.mark.parametrize(
    "config",
    [
        with_(correlation__splits=400),
        with_(activations__images_per_shard=800),
        of_faces(images=4, seed=2**32 - 1, layers=["*"]),
        of_faces(latent_bound=0.001),
        of_faces(untrained=0),
        of_faces(untrained=100),
        with_(neighbours=10**6),
        with_(inversion__neighbours=5),
        changed(BASE, ("edits", "shift", "images"), [0, 63]),
        changed(BASE, ("edits", "shift", "shift"), [-0.0, 0.999]),
        changed(BASE, ("edits", "amplify-red", "factor"), 0),
        changed(BASE, ("sample_sets", "x" * names.LONGEST), BASE["sample_sets"]["faces"]),
        changed(BASE, ("sample_sets", "_1.a-B"), BASE["sample_sets"]["faces"]),
        with_(correlation__scheduler="tcp://node1:8786"),
    ],
)
def test_values_at_the_edge_of_what_goes_together_are_taken(config):
    assert refusal(config) is None


ODD_NAMES = [
    "", "a/b", "{x}", "<b>", "a b", "..", ".a", "-a", "a\nb", "ä", "x" * 81, "x.zarr", "x.CSV",
    "a.json", "a,b", "$(x)", "*", "a\0",
]  # fmt: skip


@pytest.mark.parametrize("section", NAMES)
@pytest.mark.parametrize("name", [*ODD_NAMES, 2024, True, None, 1.5])
def test_a_name_that_is_no_path_wildcard_and_option_is_refused_in_words(section, name):
    value = next(iter(BASE[section].values()))
    config = copy.deepcopy(BASE)
    config[section][name] = value
    said = refusal(config)
    assert said and said.startswith(f"{FILE}, at {section}: "), said
    assert "no " in said and ("called" in said)


@pytest.mark.parametrize("name", [*ODD_NAMES, "a--b", "a-", "all", "each", "reconstruction", 7])
def test_a_model_of_such_a_name_or_of_one_that_means_something_else_is_refused(name, tmp_path):
    zoo = tmp_path / "zoo.yaml"
    zoo.write_text(yaml.safe_dump({name: MODEL}), encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{zoo}: no model can be called") as error:
        read_entries(str(zoo))
    assert "\n" not in str(error.value)


def test_no_table_is_called_as_a_file_beside_another_one():
    for ending in ("images", "tests"):
        said = refusal(with_(**{f"tables__table1-{ending}": "faces-heldout"}))
        assert f"table table1-{ending} would be the file that stands beside table table1" in said
    assert refusal(with_(**{"tables__other-images": "faces-heldout"})) is None


# Where settings come from.


def merged(*parts):
    config = {}
    for _, part in parts:
        config = laid_over(config, part)
    return refusal(config, Origins(parts))


@pytest.mark.parametrize(
    ("parts", "begins"),
    [
        ([("a.yaml", {"sample_set": 2024})], "a.yaml, at sample_set: "),
        ([("a.yaml", {"neighbours": 0}), ("b.yaml", {"figures": {"images": 2}})], "a.yaml, at nei"),
        ([("a.yaml", {"neighbours": 2}), ("b.yaml", {"neighbours": 0})], "b.yaml, at neighbours"),
        ([("a.yaml", {"neighbors": 2})], "a.yaml, at top level: unknown key 'neighbors'"),
        (
            [("a.yaml", {"sample_sets": {"mine": {"photos": "x"}}})],
            "a.yaml, at sample_sets.mine: photos need 'size'",
        ),
        (
            [("a.yaml", {"sample_sets": {"faces": {"photos": "x", "size": [8, 8]}}})],
            r"a.yaml, at sample_sets.faces: it has generator \(config/config.yaml\) and photos "
            r"\(a.yaml\)",
        ),
        ([(COMMAND_LINE, {"neighbours": "x"})], "--config on the command line, at neighbours"),
        ([("a.yaml", {"figures": {"images": 2}})], None),
    ],
)
def test_a_place_is_named_by_the_file_that_set_it_last(parts, begins):
    said = merged((FILE, BASE), *parts)
    assert said is None if begins is None else re.match(begins, said), said


def test_only_text_from_the_command_line_is_explained_by_its_braces():
    text = {"correlation": {"memory_gb": "3"}}
    assert "Within --config" in merged((FILE, BASE), (COMMAND_LINE, text))
    said = merged((FILE, BASE), ("a.yaml", text))
    assert "Within --config" not in said and "write 3 without quotes" in said
    assert "Within" not in merged((FILE, BASE), ("a.yaml", {"sample_set": 2024}))


def test_a_null_takes_a_sample_set_away_and_all_that_needs_it():
    config = with_(sample_sets__faces=None, sample_set="eyes")
    left = settled(config)
    assert refusal(config) is None
    assert "faces" not in left["sample_sets"] and "faces-vit" in left["sample_sets"]
    assert list(left["inversions"]) == ["eyes-cross-class"]
    assert left["tables"] == left["edits"] == left["edit_figures"] == {}
    assert config["sample_sets"]["faces"] is None, "the config that was given is changed"


def test_a_name_that_an_example_has_is_refused_with_that_example(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = read_yaml(ROOT / FILE) | {"sample_set": "faces-all"}
    said = "no sample set 'faces-all'. It is in config/examples/faces.yaml: add --configfile"
    assert said in refusal(config)


def test_a_null_takes_an_inversion_an_edit_a_table_a_figure_or_a_key_away():
    left = settled(with_(inversions__faces_heldout=None) | {"neighbours": 5})
    assert "faces_heldout" not in left["inversions"]
    left = settled(changed(BASE, ("inversions", "faces-photos"), None))
    assert "table1-photos" not in left["tables"] and "photo-paint-red" not in left["edits"]
    assert "others" not in left["edit_figures"] and "figure8" in left["edit_figures"]
    assert "shift" not in settled(changed(BASE, ("edits", "shift"), None))["edits"]
    assert "faces" not in settled(changed(BASE, (*FACES, "seed"), None))["sample_sets"]["eyes"]
    assert "at sample_sets.faces: a generator needs 'seed'" in refusal(of_faces(seed=None))
    photos = of_faces(generator=None, images=None, seed=None, photos="x", size=[8, 8])
    photos["inversions"], photos["edits"] = None, None
    origins = Origins(((FILE, BASE), ("mine.yaml", photos)))
    assert refusal(photos, origins) is None


def test_a_sample_set_that_is_asked_for_and_was_taken_away_is_named():
    assert "sample set faces was taken away (null)" in refusal(with_(sample_sets__faces=None))


def test_only_what_is_asked_for_is_held_against_the_zoo(tmp_path):
    zoo = {"one": MODEL, "two": find_entry("efficientnet-lite0").to_mapping()}
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump(zoo), encoding="utf-8")
    mine = {"photos": "x", "size": [8, 8], "layers": "all", "models": ["one", "two"]}
    config = with_(zoo=str(tmp_path / "zoo.yaml"), sample_set="mine", sample_sets__mine=mine)
    assert refusal(config) is None
    with pytest.raises(ValueError, match="at sample_sets.faces.generator: .* no model 'dcgan-digi"):
        Checked(config).hold_sample_set("faces")
    with pytest.raises(ValueError, match="no model 'dcgan-digiface'"):
        Checked(config).hold_inversion("faces-heldout")
    assert "no model 'three'" in refusal(changed(config, ("sample_sets", "mine", "models"),
                                                 ["one", "three"]))  # fmt: skip


# Entries.

ENTRY_NAMES = {"": "m", "m": "m", "layers": "block"}
MODEL = find_entry("open-nsfw").to_mapping()
GENERATOR = find_entry("dcgan-digiface").to_mapping()


def entry_refusal(entry, tmp_path):
    zoo = tmp_path / "zoo.yaml"
    # Some of the values no YAML can hold, so that what is parsed is given.
    try:
        check({"m": entry}, "models", "zoo.yaml")
        zoo.write_text(yaml.safe_dump({"m": entry}), encoding="utf-8")
        read_entries.__globals__["_read_entries"].cache_clear()
        read_entries(str(zoo))
    except ValueError as error:
        assert "\n" not in str(error), str(error)
        return str(error)
    return None


def test_values_of_entries_drawn_from_the_schema_are_refused_in_one_line(tmp_path):
    found = drawn("models", {"": "m", "layers": "block"}, number=150, seed=24)
    accepted = []
    for place, value in found:
        if place == ("m",) or len(place) < 2:
            continue
        said = entry_refusal(changed({"m": MODEL}, place, value)["m"], tmp_path)
        if said is None:
            accepted.append((place, value))
        else:
            assert " at m" in said, said
    assert not accepted


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (GENERATOR | {"architecture": {"latent": 5, "channels": []}}, "should be non-empty"),
        (GENERATOR | {"architecture": {"latent": 0, "channels": [4]}}, "less than the minimum"),
        (GENERATOR | {"architecture": {"latent": 5}}, "'channels' is a required property"),
        (GENERATOR | {"architecture": {"latent": 5, "channels": [4], "chanels": 3}}, "unknown key"),
        (GENERATOR | {"architecture": "dcgan"}, "is not of type 'object'"),
        (GENERATOR | {"preprocessing": {"scale": 1}}, "'preprocessing' says nothing of a generat"),
        (GENERATOR | {"classes": ["a"], "architecture": {"latent": 5, "channels": [4],
                                                         "classes": 2}}, "names 1 classes"),
        (GENERATOR | {"loader": "stylegan2", "architecture": {"resolution": 100}}, "is not one of"),
        (GENERATOR | {"loader": "biggan-deep", "architecture": {}}, "needs a resolution"),
        (MODEL | {"autocast": "float16"}, "'autocast' says nothing of a model"),
        (MODEL | {"classes": ["a"]}, "'classes' says nothing of a model"),
        (MODEL | {"loader": "dcgan"}, "architecture: unknown key|'dcgan' loads no model"),
        (MODEL | {"weights": {"function": True}}, "weights.function are of the loader function"),
        (MODEL | {"weights": {"timm": "x"}}, "weights.timm are of the loader timm"),
        (MODEL | {"architecture": {"prefix_tokens": -1}}, "less than the minimum of 0"),
        (MODEL | {"architecture": {"grid": [0, 4]}}, "in patches"),
        (MODEL | {"architecture": {"grid": [4]}}, "in patches"),
        (MODEL | {"architecture": {"grid": "4x4"}}, "not of type 'array'"),
        (MODEL | {"layers": {"block": []}}, "should be non-empty"),
        (MODEL | {"layers": {"all": ["*"]}}, "no preset can be called 'all'"),
        (MODEL | {"preprocessing": MODEL["preprocessing"] | {"scale": 0}}, "less than the minimum"),
        (MODEL | {"preprocessing": MODEL["preprocessing"] | {"scale": -1}}, "less than the minim"),
        (MODEL | {"preprocessing": MODEL["preprocessing"] | {"size": [-5, 64]}}, "less than the"),
        (MODEL | {"preprocessing": MODEL["preprocessing"] | {"std": [1, 1, 0]}}, "less than the"),
        (MODEL | {"preprocessing": MODEL["preprocessing"] | {"std": [1, 1, math.nan]}}, "finite"),
        (MODEL | {"loader": "function", "architecture": {"function": "a.b"}}, "package.module:bui"),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_is_refused_by_place(entry, words, tmp_path):
    said = entry_refusal(entry, tmp_path)
    assert said and re.search(words, said), said


@pytest.mark.parametrize("grid", [[4, 6], [[4, 6]], [[4, 6], [2, 3]]])
def test_one_grid_or_several_are_taken(grid, tmp_path):
    assert (
        entry_refusal(MODEL | {"architecture": {"grid": grid, "prefix_tokens": 0}}, tmp_path)
        is None
    )


def test_the_schema_knows_the_arguments_of_every_generator():
    import importlib

    from rosetta_steps.zoo.loaders import loaders_of

    schema = schema_of("models")["$defs"]
    for name, loader in loaders_of("generator").items():
        if name == "function":
            continue
        module = importlib.import_module(f"rosetta_steps.{loader.module}")
        parameters = inspect.signature(getattr(module, loader.network)).parameters
        assert set(schema[name]["properties"]) == set(parameters), name
        needed = {n for n, one in parameters.items() if one.default is inspect.Parameter.empty}
        assert set(schema[name].get("required", [])) == needed, name


def test_the_schema_knows_the_keys_of_every_loader_of_models():
    from rosetta_steps.zoo.models import functions, onnx_models

    schema = schema_of("models")["$defs"]
    assert set(schema["onnx"]["properties"]) == set(onnx_models.KEYS)
    assert set(schema["function"]["properties"]) == set(functions.KEYS)


# Files.


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), ("# x\n", "is empty"), ("- a", "list")]
)
def test_a_config_without_keys_is_refused_by_name(text, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^mine.yaml .*{words}"):
        read_origins(["config/config.yaml", "mine.yaml"])


NONSENSE = [None, True, 5, 2.5, "x", "", [], {}, [1], [None], {"x": None}, {1: 2}, [[]], "a/b"]


def test_nonsense_anywhere_is_refused_in_one_line_and_never_crashes():
    draw = random.Random(24)
    places = list(places_of(BASE))
    for _ in range(300):
        config = copy.deepcopy(BASE)
        for _ in range(draw.choice([1, 1, 2, 3])):
            *way, key = draw.choice(places)
            inner = config
            for part in way:
                inner = inner.get(part) if isinstance(inner, dict) else None
            if isinstance(inner, dict):
                inner[key] = copy.deepcopy(draw.choice(NONSENSE))
        refusal(config)  # which fails on anything but a ValueError of one line


def places_of(value, place=()):
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*place, key)
        yield from places_of(inner, (*place, key))
