"""Hold a config against its schema, the zoo and itself: what is wrong ends here, not in a job.

Nothing heavy is imported: this runs while the workflow is parsed. Sample sets that are not asked
for may name models of another zoo; they are held against the zoo when a rule first needs them.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

from rosetta_steps.config.names import clash_of_tables, problem_of, refusal_of_rank
from rosetta_steps.config.places import NOWHERE, Origins
from rosetta_steps.config.schema import check, leaves, quoted, refused, suggestion
from rosetta_steps.editing.kinds import KINDS
from rosetta_steps.evidence.settings import FEWEST_IMAGES
from rosetta_steps.inversion.metrics import LPIPS, METRICS, networks_among
from rosetta_steps.labelling.own import read_own_labels
from rosetta_steps.labelling.vocabulary import LOADER, read_vocabulary
from rosetta_steps.stimuli.picture_list import read_list
from rosetta_steps.workflow.chosen import ARM_WITH_ALL, ARM_WITHOUT, EACH, NAMED, Chosen
from rosetta_steps.workflow.examples import where_to_find
from rosetta_steps.zoo.entries import find_entry, layer_patterns, read_entries
from rosetta_steps.zoo.entry import Entry
from rosetta_steps.zoo.generators.sample_settings import check_sampling
from rosetta_steps.zoo.loaders import family_of

# Where the images of a sample set come from: keys it must have, and keys it may have besides.
ORIGINS = {
    "generator": (["images", "seed"], ["truncation", "class", "latent_bound"]),
    "photos": (["size"], ["images", "unreadable", "images_per_class"]),
    "pictures": (["size"], []),
}
METRICS_OF_ALL = ("inversion", "metrics")
# A split of one image would correlate positions of that image alone.
IMAGES_OF_A_SPLIT = 2
# A file of maps is as long as this or as all images at most: what is not filled takes memory too.
LONGEST_SHARD_OF_FEW = 128


def settled(config: dict, origins: Origins = NOWHERE) -> dict:
    """The config without what a null takes away, and without what needs it.

    A later file is laid over the first, so that nothing else can take a sample set, or a key of
    one, away again.

    Args:
        config: As Snakemake merged it; it is not changed.
        origins: The files it came from, for errors.

    Raises:
        ValueError: The sample set that is asked for, or what belongs to it, was taken away.
    """
    taken = {
        section: {name for name, value in _mapping(config, section).items() if value is None}
        for section in NAMED
    }
    empty: dict[str, dict] = {
        section: {} for section in NAMED if section in config and config[section] is None
    }
    for section in empty:  # of which all is taken away
        taken[section] |= {n for _, part in origins.parts for n in _mapping(part, section)}
    left = _without_nulls(config) | empty
    for section, value in left.items():
        if section in NAMED and isinstance(value, dict):
            left[section] = dict(value)
    _take_along(left, taken)
    if (chosen := _text(left, "sample_set")) in taken["sample_sets"]:
        known = list(_mapping(left, "sample_sets"))
        raise refused(
            origins,
            ("sample_set",),
            f"sample set {chosen} was taken away (null). {suggestion(str(chosen), known)}",
        )
    return left


def _without_nulls(value):
    if not isinstance(value, dict):
        return value
    return {key: _without_nulls(one) for key, one in value.items() if one is not None}


def _take_along(config: dict, taken: dict[str, set]) -> None:
    """Take away what names something that was taken away."""

    def drop(section: str, names: Iterable) -> None:
        for name in list(names):
            _mapping(config, section).pop(name, None)
            taken[section].add(name)

    def of(section: str, needs) -> list:
        items = _mapping(config, section).items()
        return [name for name, chosen in items if needs(chosen)]

    gone = taken["sample_sets"]
    drop(
        "inversions",
        of("inversions", lambda c: {_text(c, "matches"), _text(c, "targets")} & gone),
    )
    drop("tables", of("tables", lambda name: isinstance(name, str) and name in taken["inversions"]))

    def source_is_gone(edit) -> bool:
        source, *arm = (_text(edit, "source") or "").split("/")
        return source in taken["inversions" if arm else "sample_sets"]

    drop("edits", of("edits", lambda c: _text(c, "matches") in gone or source_is_gone(c)))
    drop(
        "replications",
        of(
            "replications",
            lambda c: {_text(c, key) for key in ("mined", "confirmed", "reference")} & gone,
        ),
    )
    drop(
        "edit_figures",
        of("edit_figures", lambda names: isinstance(names, list) and _any(names, taken["edits"])),
    )


def _any(names: list, gone: set) -> bool:
    return any(isinstance(name, str) and name in gone for name in names)


def _mapping(config, section: str) -> dict:
    found = config.get(section) if isinstance(config, dict) else None
    return found if isinstance(found, dict) else {}


def _text(chosen, key: str) -> str | None:
    found = chosen.get(key) if isinstance(chosen, dict) else None
    return found if isinstance(found, str) else None


def check_config(config: dict, origins: Origins = NOWHERE) -> None:
    """Refuse a config of which anything can be known to be wrong before any job.

    Args:
        config: As `settled` gives it.
        origins: The files it came from, in which errors name the place.

    Raises:
        ValueError: One line with file, place, value and remedy.
    """
    Checked(config, origins).everything()


class Checked:
    """A config, with what was found right of it.

    Args:
        config: As `settled` gives it.
        origins: The files it came from, for errors.
    """

    def __init__(self, config: dict, origins: Origins = NOWHERE):
        self.config, self.origins = config, origins
        self._held: set[tuple[str, str]] = set()

    def everything(self) -> None:
        """Hold all against the schema and itself, and what is asked for against the zoo.

        Raises:
            ValueError: One line with file, place, value and remedy.
        """
        self.names()
        self.ranks()
        check(self.config, "config", self.origins)
        self.options()
        self.correlation()
        for name, chosen in self.config["sample_sets"].items():
            self.origin(name, chosen)
        for name, chosen in self.config["inversions"].items():
            self.inversion(name, chosen)
        for name, inverted in self.config["tables"].items():
            self.known("inversions", inverted, ("tables", name))
        for name, chosen in self.config["edits"].items():
            self.edit(name, chosen)
        for name, edits in self.config["edit_figures"].items():
            for index, edit in enumerate(edits):
                self.known("edits", edit, ("edit_figures", name, index))
        for name, chosen in self.config["replications"].items():
            self.replication(name, chosen)
        self.hold_what_is_asked_for()

    def names(self) -> None:
        """Refuse names that cannot be paths, wildcards and options, or that mean something else."""
        for section, kind in NAMED.items():
            found = _mapping(self.config, section)
            for name in found:
                if problem := problem_of(kind, name):
                    raise self.error((section,), problem, origin=(section, name))
            for name in found:
                if section == "sample_sets" and isinstance(found[name], dict):
                    self.sample_set_models(name, found[name])
        if problem := clash_of_tables(_mapping(self.config, "tables")):
            raise self.error(("tables",), problem)

    def ranks(self) -> None:
        """Refuse concepts by their rank, as they once were written, with the ids that are meant."""
        for name, chosen in _mapping(self.config, "edits").items():
            concepts = chosen.get("concepts") if isinstance(chosen, dict) else None
            for index, concept in enumerate(concepts if isinstance(concepts, list) else []):
                if isinstance(concept, int):
                    table = Path("results/dictionary", str(chosen.get("matches")), "rosetta.csv")
                    raise self.error(
                        ("edits", name, "concepts", index),
                        refusal_of_rank(concept, concept_of_rank(concept, table)),
                    )

    def sample_set_models(self, name: str, chosen: dict) -> None:
        """Refuse names of a sample set's generator and models that no zoo can have."""
        generator = chosen.get("generator")
        if isinstance(generator, str) and generator and (problem := problem_of("model", generator)):
            raise self.error(("sample_sets", name, "generator"), problem)
        models = chosen.get("models")
        for index, model in enumerate(models if isinstance(models, list) else []):
            if isinstance(model, str) and (problem := problem_of("model", model)):
                raise self.error(("sample_sets", name, "models", index), problem)

    def options(self) -> None:
        """Refuse negative numbers that a command line would take for the name of an option."""
        for place, value in leaves(self.config):
            if isinstance(value, float) and value < 0 and "e" in repr(value):
                raise self.error(place, f"{value} is next to nothing. Write 0, or -0.0001.")

    def correlation(self) -> None:
        """Refuse settings of the correlation that cannot go together."""
        chosen = self.config["correlation"]
        if chosen["splits"] > 1 and chosen["keep"] == "nearest":
            raise self.error(
                ("correlation", "splits"),
                f"{chosen['splits']} splits are kept as tables, and keep is nearest. Set keep: "
                "table, or splits: 1.",
            )
        if self.config["evidence"]["spread"] and chosen["keep"] == "nearest":
            raise self.error(
                ("evidence", "spread"),
                "rotated bases and readouts need the correlations of every pair, and "
                "correlation.keep is nearest. Set keep: table, or spread: false.",
            )

    def origin(self, name: str, chosen: dict) -> None:
        """A sample set has one origin, says what that needs, and names models if it is mined."""
        place = ("sample_sets", name)
        given = [origin for origin in ORIGINS if origin in chosen]
        if len(given) != 1:
            where = [f"{key} ({self.origins.of((*place, key))})" for key in given]
            found = " and ".join(where) if where else "none of them"
            raise self.error(
                place,
                f"it has {found}: give either a generator, photos or pictures. A later file is "
                "laid over the ones before: take a key away by null (generator: null), or take "
                "another name.",
                origin=(*place, given[-1]) if given else None,
            )
        needed, possible = ORIGINS[given[0]]
        need = "a generator needs" if given[0] == "generator" else f"{given[0]} need"
        for key in needed:
            if key not in chosen:
                raise self.error(place, f"{need} '{key}' as well.")
        mined = {"layers", "models", "store", "untrained", "labels"}
        for key in sorted(set(chosen) - {*given, *mined, *needed, *possible}):
            raise self.error((*place, key), f"'{key}' says nothing of {given[0]}. Leave it out.")
        if ("models" in chosen) != ("layers" in chosen):
            raise self.error(
                place,
                "give both models and layers, to mine it, or neither, for images that are only "
                "inverted.",
            )
        if "store" in chosen and "models" not in chosen:
            raise self.error(
                (*place, "store"),
                "'keep' says which maps are kept, and it has none: give models and layers, to mine "
                "it, or leave it out.",
            )
        if "untrained" in chosen and "models" not in chosen:
            raise self.error(
                (*place, "untrained"),
                "'untrained' is the number of untrained copies of each model, and it has no model: "
                "give models and layers, to mine it, or leave it out.",
            )
        if "labels" in chosen and "models" not in chosen:
            raise self.error(
                (*place, "labels"),
                "'labels' are of units, and it has none: give models and layers, to mine it, or "
                "leave it out.",
            )
        if "models" not in chosen:
            return
        if len(chosen["models"]) + (given[0] == "generator") < 2:
            raise self.error((*place, "models"), f"{need} two models at least.")

    def inversion(self, name: str, own: dict) -> None:
        """An inversion names sample sets and arms that exist, and settings that go together."""
        place, chosen = ("inversions", name), self.config["inversion"] | own
        for key in ("matches", "targets"):
            self.known("sample_sets", own[key], (*place, key))
        matches = self.config["sample_sets"][own["matches"]]
        if "generator" not in matches:
            raise self.error(
                (*place, "matches"),
                f"{own['matches']} is of photos, no generator's images: there is nothing to invert "
                "through.",
            )
        self.mined(own["matches"], (*place, "matches"))

        def at(key: str) -> tuple:
            return (*place, key) if key in own else ("inversion", key)

        if chosen["neighbours"] > self.config["neighbours"]:
            raise self.error(
                at("neighbours"),
                f"inversion {name}: neighbours {chosen['neighbours']} asks for more than the best "
                f"buddies have: they are mined with K = {self.config['neighbours']} (neighbours at "
                "the top of the config).",
            )
        arms = [ARM_WITHOUT, EACH, ARM_WITH_ALL, *matches["models"]]
        for index, arm in enumerate(chosen["arms"]):
            if arm not in arms:
                raise self.error(
                    (*at("arms"), index),
                    f"inversion {name}: no arm '{arm}'. {suggestion(arm, arms)}",
                )
        if EACH in chosen["arms"] and (twice := {*chosen["arms"]} & {*matches["models"]}):
            raise self.error(
                at("arms"), f"inversion {name}: {min(twice)} is in each as well. Leave one out."
            )

    def edit(self, name: str, chosen: dict) -> None:
        """An edit names sample sets and arms that exist, and numbers that its kind has."""
        place = ("edits", name)
        self.known("sample_sets", chosen["matches"], (*place, "matches"))
        self.mined(chosen["matches"], (*place, "matches"))
        matches = self.config["sample_sets"][chosen["matches"]]
        if "generator" not in matches:
            raise self.error(
                (*place, "matches"),
                f"{chosen['matches']} is of photos: there is no generator to edit through.",
            )
        self.source(name, chosen, matches["generator"])
        kind = chosen["edit"]
        of_kinds = {key for one in KINDS.values() for key in one.numbers}
        for key in sorted((of_kinds & set(chosen)) - set(KINDS[kind].numbers)):
            raise self.error((*place, key), f"'{key}' says nothing of {kind}. Leave it out.")
        if kind == "paint" and "mask" not in chosen:
            raise self.error(
                place, "paint needs a mask: an image, white where units are to be strong."
            )
        if kind == "amplify" and chosen.get("factor") == 1:
            raise self.error((*place, "factor"), "a factor of 1 changes nothing. Give another.")
        if chosen.get("shift") and not any(chosen["shift"]):
            raise self.error((*place, "shift"), "a shift of 0 and 0 changes nothing. Give another.")
        if "units" in chosen and "concepts" in chosen:
            raise self.error((*place, "units"), "give either units or concepts, not both.")

    def replication(self, name: str, chosen: dict) -> None:
        """A replication names sample sets that are mined."""
        for key, sample_set in chosen.items():
            self.known("sample_sets", sample_set, ("replications", name, key))
            self.mined(sample_set, ("replications", name, key))

    def source(self, name: str, chosen: dict, generator: str) -> None:
        """The latents of an edit: of a generator's sample set, or of an arm (inversion/arm)."""
        place = ("edits", name, "source")
        source, *arm = chosen["source"].split("/")
        if len(arm) > 1:
            raise self.error(
                place, f"'{chosen['source']}' is neither a sample set nor inversion/arm."
            )
        self.known("inversions" if arm else "sample_sets", source, place)
        if arm:
            inverted = self.config["inversion"] | self.config["inversions"][source]
            arms = Chosen(self.config).arms_of(source)
            if arm[0] not in arms:
                raise self.error(
                    place,
                    f"edit {name}: inversion {source} has no arm '{arm[0]}'. "
                    f"{suggestion(arm[0], arms)}",
                )
            other = self.config["sample_sets"][inverted["matches"]].get("generator")
        else:
            own = self.config["sample_sets"][source]
            other = own.get("generator")
            if other is None:
                raise self.error(
                    place, f"{source} has no latents to edit. Invert it, and give inversion/arm."
                )
        if other != generator:
            raise self.error(
                place,
                f"its latents are of {other}, and {chosen['matches']} was mined with {generator}. "
                "Take a source of the same generator.",
            )
        if arm:
            return
        images = self.config["sample_sets"][source]["images"]
        if beyond := [n for n in chosen.get("images", []) if n >= images]:
            raise self.error(
                ("edits", name, "images"),
                f"image {beyond[0]} of {source}, which has images 0 to {images - 1}.",
            )

    def hold_what_is_asked_for(self) -> None:
        """Hold the sample set that is asked for, and what its matches guide, against the zoo."""
        asked = self.config["sample_set"]
        with _at(self, ("zoo",)):
            read_entries(self.config["zoo"])
        self.known("sample_sets", asked, ("sample_set",))
        self.mined(asked, ("sample_set",))
        self.hold_sample_set(asked)
        self.words()
        for name, chosen in self.config["inversions"].items():
            if chosen["matches"] == asked:
                self.hold_inversion(name)
        for chosen in self.config["edits"].values():
            if chosen["matches"] == asked and "/" not in chosen["source"]:
                self.hold_sample_set(chosen["source"])

    def words(self) -> None:
        """Refuse a vocabulary that is none, and a model that has no text tower."""
        chosen = self.config["labels"]
        given = [key for key in ("vocabulary", "model") if key in chosen]
        if len(given) == 1:
            raise self.error(
                ("labels", given[0]),
                "a vocabulary needs a model that scores its words, and a model needs words. Give "
                "both, or neither.",
            )
        if not given:
            return
        with _at(self, ("labels", "vocabulary")):
            read_vocabulary(Path(chosen["vocabulary"]))
        place, zoo = ("labels", "model"), self.config["zoo"]
        with _at(self, place):
            entry = find_entry(chosen["model"], zoo)
        if entry.loader != LOADER:
            entries = read_entries(zoo).items()
            known = [name for name, one in entries if one.loader == LOADER]
            raise self.error(
                place,
                f"{chosen['model']} is of the loader {entry.loader}, which has no text tower. Take "
                f"one of the loader {LOADER}: {quoted(known)}.",
            )

    def own_labels(self, name: str, path: str, images: int | None) -> None:
        """Refuse labels of one's own that are none, or fewer or more than there are images."""
        with _at(self, ("sample_sets", name, "labels")):
            rows = len(read_own_labels(Path(path)).rows)
        if images is not None and rows != images:
            raise self.error(
                ("sample_sets", name, "labels"),
                f"{path} has rows of {rows} images, and {name} has {images}: every image needs "
                "a row.",
            )

    def hold_sample_set(self, name: str) -> None:
        """Hold a sample set against the zoo and its list of pictures, once.

        Raises:
            ValueError: No such model, preset of layers or class, or numbers that images do not
                allow: file, place and remedy.
        """
        if ("sample_sets", name) in self._held:
            return
        chosen, place = self.config["sample_sets"][name], ("sample_sets", name)
        images = chosen.get("images")
        if "pictures" in chosen:
            images = len(read_list(chosen["pictures"]))
        if "generator" in chosen:
            self.generator(name, chosen)
        if "models" in chosen:
            for index, model in enumerate(chosen["models"]):
                self.model(model, "model", (*place, "models", index), chosen["layers"])
            if images is not None:
                self.numbers_of_images(name, images)
        if "labels" in chosen:
            self.own_labels(name, chosen["labels"], None if "photos" in chosen else images)
        self._held.add(("sample_sets", name))

    def generator(self, name: str, chosen: dict) -> None:
        """Class and truncation, before weights are fetched for them."""
        place, model = ("sample_sets", name, "generator"), chosen["generator"]
        entry = self.model(model, "generator", place, chosen.get("layers"))
        with _at(self, ("sample_sets", name), f"sample set {name}: "):
            check_sampling(model, entry, chosen.get("class"), chosen.get("truncation", 1.0))

    def model(self, model: str, role: str, place: tuple, layers=None) -> Entry:
        """The entry of a model that has the role, and the preset of layers, that are asked for."""
        zoo, what = self.config["zoo"], f"{NAMED[place[0]]} {place[1]}: "
        with _at(self, place, what):
            entry = find_entry(model, zoo)
        if layers is not None:
            with _at(self, (*place[:2], "layers"), what):
                layer_patterns(entry, layers, model)
        if entry.role != role:
            raise self.error(
                place,
                f"{what}{model} is a {entry.role}, not a {role} ({zoo}). `python -m "
                "rosetta_steps.zoo` lists both.",
            )
        return entry

    def numbers_of_images(self, name: str, images: int) -> None:
        """Refuse more splits, or a longer file of maps, than a number of images allows."""
        if images < 2:
            raise self.error(
                ("sample_sets", name),
                f"{images} image: a correlation over images needs at least two.",
            )
        splits = self.config["correlation"]["splits"]
        if splits > 1 and images < IMAGES_OF_A_SPLIT * splits:
            raise self.error(
                ("correlation", "splits"),
                f"{splits} splits of the {images} images of {name}: a split needs at least "
                f"{IMAGES_OF_A_SPLIT}, so take at most {max(1, images // IMAGES_OF_A_SPLIT)}.",
            )
        shard, most = self.config["activations"]["images_per_shard"], LONGEST_SHARD_OF_FEW
        if shard > max(images, most):
            raise self.error(
                ("activations", "images_per_shard"),
                f"{shard} images in a file, and {name} has {images}: a file takes its memory though"
                f" it is not filled. Take at most {max(images, most)}.",
            )

    def hold_inversion(self, name: str) -> None:
        """Hold an inversion and its sample sets against the zoo, once.

        Raises:
            ValueError: As hold_sample_set.
        """
        if ("inversions", name) in self._held:
            return
        own, place = self.config["inversions"][name], ("inversions", name)
        chosen = self.config["inversion"] | own
        for key in ("matches", "targets"):
            self.hold_sample_set(chosen[key])
        generator = self.config["sample_sets"][chosen["matches"]]["generator"]
        entry = find_entry(generator, self.config["zoo"])
        with _at(self, place, f"inversion {name}: "):
            check_sampling(generator, entry, chosen.get("class"), chosen["truncation"])
        family = family_of(entry.loader)
        mapping = family is None or (family.truncates and not family.truncation_scales_z)
        if chosen["space"] != "z" and not mapping:
            raise self.error(
                (*place, "space") if "space" in own else ("inversion", "space"),
                f"inversion {name}: {generator} has no mapping network, so no {chosen['space']}. "
                "Use space: z.",
            )
        for network in networks_among(chosen["metrics"]):
            self.metric(network, (*place, "metrics") if "metrics" in own else METRICS_OF_ALL)
        if chosen["reconstruction"] == "perceptual":
            self.model(chosen["perceptual_network"], "model", place)
        self._held.add(("inversions", name))

    def hold_replication(self, name: str) -> None:
        """Hold a replication against its sample sets, and them against the zoo, once.

        Not before it is asked for: a model that is added to the mined sample set alone breaks
        nothing else.

        Raises:
            ValueError: Its sample sets have other models or layers, the same images or too few, or
                as hold_sample_set.
        """
        if ("replications", name) in self._held:
            return
        chosen = self.config["replications"][name]
        for key, sample_set in chosen.items():
            place = ("replications", name, key)
            images = self.config["sample_sets"][sample_set].get("images", FEWEST_IMAGES)
            if images < FEWEST_IMAGES:
                raise self.error(
                    place,
                    f"{sample_set} has {images} images, of which a replication says nothing: "
                    f"{FEWEST_IMAGES} at least.",
                )
            if key != "mined":
                self.other_images(chosen["mined"], sample_set, place)
            self.hold_sample_set(sample_set)
        if "reference" in chosen:
            self.same_distribution(chosen, ("replications", name, "reference"))
        self._held.add(("replications", name))

    def other_images(self, mined: str, other: str, place: tuple) -> None:
        """Refuse a sample set that has the images of the mined one, or other units."""
        of, both = Chosen(self.config), f"{mined} and {other}"
        here, there = (self.config["sample_sets"][name] for name in (mined, other))
        # Image n of a seed is the same in a sample set of more images.
        same_seed = here.get("seed") == there.get("seed")
        if other == mined or (same_seed and of.distribution(mined) == of.distribution(other)):
            raise self.error(
                place,
                f"{both} have the same images, on which nothing can be confirmed: give {other} "
                "another seed, class or truncation, or other photos.",
            )
        first = of.first_of(mined), of.first_of(other)
        if first[0] != first[1]:
            raise self.error(
                place,
                f"{both} are not of the same units: the first model of one is {first[0]}, of the "
                f"other {first[1]}. Confirm on images of the same generator; of photos, on photos "
                "with the same first model.",
            )
        if missing := [model for model in here["models"] if model not in there["models"]]:
            raise self.error(
                place, f"{other} is not mined with {missing[0]}, as {mined} is. Add it there."
            )
        if here["layers"] != there["layers"]:
            raise self.error(
                place,
                f"{both} have other layers, {here['layers']} and {there['layers']}: their units "
                "are not the same. Give both the same.",
            )

    def same_distribution(self, chosen: dict, place: tuple) -> None:
        """Refuse a reference whose images a generator draws in another way than the mined ones."""
        of = Chosen(self.config)
        here, there = (of.distribution(chosen[key]) for key in ("mined", "reference"))
        unlike = [key for key in here if here[key] != there.get(key)]
        if unlike and "generator" in here:
            raise self.error(
                place,
                f"{chosen['mined']} and {chosen['reference']} differ in {unlike[0]}: a reference "
                "is of the same distribution, with another seed.",
            )

    def metric(self, name: str, place: tuple) -> None:
        """Refuse the name of a metric that is none, nor a model that measures a distance."""
        entries = read_entries(self.config["zoo"])
        models = [model for model, entry in entries.items() if entry.role == "model"]
        if name not in models:
            known = [*METRICS, LPIPS, *models]
            raise self.error(
                place,
                f"no metric '{name}', and no model of that name in {self.config['zoo']}. "
                f"{suggestion(name, known)}",
            )

    def known(self, section: str, name: str, place: tuple) -> None:
        """Refuse a name that a section does not have."""
        if name not in self.config[section]:
            remedy = where_to_find(section, name, list(self.config[section]))
            raise self.error(place, f"no {NAMED[section]} '{name}'. {remedy}")

    def mined(self, name: str, place: tuple) -> None:
        """Refuse a sample set that has no models."""
        if "models" not in self.config["sample_sets"][name]:
            others = [n for n, one in self.config["sample_sets"].items() if "models" in one]
            raise self.error(
                place,
                f"sample set {name} is not mined: it has no models. Give it models and layers, or "
                f"take another: {quoted(others)}.",
            )

    def error(self, place, message: str, origin=None) -> ValueError:
        """The error that names file, place and what is wrong there."""
        return refused(self.origins, place, message, origin=origin)


class _at:
    """Name file and place in a ValueError that knows neither."""

    def __init__(self, checked: Checked, place: tuple, what: str = ""):
        self.checked, self.place, self.what = checked, place, what

    def __enter__(self):
        return self

    def __exit__(self, _kind, error, _trace):
        if isinstance(error, ValueError):
            raise self.checked.error(self.place, f"{self.what}{error}") from None


def concept_of_rank(rank: int, table: Path) -> str | None:
    """Return the id of the concept that has a rank in a dictionary, if it is there and has one."""
    if not table.is_file():
        return None
    with table.open(encoding="utf-8", newline="") as rows:
        found = (
            row.get("concept_id") for row in csv.DictReader(rows) if row["concept"] == str(rank)
        )
        return next(found, None)
