"""What the rules share: the checked config, and what an artefact follows from."""

import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from rosetta_steps.config.checking import Checked, settled
from rosetta_steps.devices import installed_devices
from rosetta_steps.digest import algorithm
from rosetta_steps.image_files import folder_digest, matched_files
from rosetta_steps.picture_list import list_digest, read_list
from rosetta_steps.zoo.entries import (
    entry_digest,
    find_entry,
    layer_patterns,
    suggestion,
)
from rosetta_steps.zoo.weights import sha256_of_weights


wildcard_constraints:
    sample_set=r"[^/]+",
    model=r"[^/]+?",
    a=r"[^/]+?",
    b=r"[^/]+?",


# A typo ends here, not in a job. What null takes away is gone from here on.
try:
    left = settled(config, ORIGINS)
    config.clear()
    config.update(left)
    CHECKED = Checked(config, ORIGINS)
    CHECKED.everything()
except ValueError as error:
    raise WorkflowError(str(error)) from None

ENVIRONMENT = "../../environment.yml"
ALL, MATCHED = "all", "matched"


def sample_set(name):
    """Settings of a sample set, which is held against the zoo when it is first needed."""
    if name not in config["sample_sets"]:
        known = list(config["sample_sets"])
        raise ValueError(f"no sample set '{name}' in the config. {suggestion(name, known)}")
    CHECKED.hold_sample_set(name)
    return config["sample_sets"][name]


def everyone(name):
    """Generator and models of a sample set; of photos, the first model is in its place.

    Raises:
        ValueError: It is not mined.
    """
    chosen = sample_set(name)
    if "models" not in chosen:
        raise ValueError(
            f"sample set {name} is not mined: it has no models. Give it models and layers, or take "
            f"another: {', '.join(n for n, c in config['sample_sets'].items() if 'models' in c)}."
        )
    generator = [chosen["generator"]] if "generator" in chosen else []
    return generator + chosen["models"]


def first_of(name):
    """The model by whose units the dictionary of a sample set is grouped: the generator."""
    return everyone(name)[0]


def others_of(name):
    """The models in which its units must have buddies."""
    return everyone(name)[1:]


def sampling_options(wildcards):
    """Truncation, classes and bound of the latents of a sample set, as options of the step."""
    chosen = sample_set(wildcards.sample_set)
    classes = chosen.get("class", [])
    options = {
        "--truncation": [chosen.get("truncation", 1.0)],
        "--latent-bound": [chosen["latent_bound"]] if "latent_bound" in chosen else [],
        "--classes": classes if isinstance(classes, list) else [classes],
    }
    return [str(word) for key, words in options.items() if words for word in (key, *words)]


def photos(name):
    """Folder or globs of a sample set of photos."""
    chosen = sample_set(name)["photos"]
    return chosen if isinstance(chosen, list) else [chosen]


def images_of(name):
    """Number of images of a sample set, as far as it is known before photos are opened."""
    chosen = sample_set(name)
    if "pictures" in chosen:
        return len(read_list(chosen["pictures"]))
    if "photos" not in chosen:
        return chosen["images"]
    found = matched_files(photos(name))[1]
    of_classes = chosen.get("images_per_class", sys.maxsize) * len({Path(f).parent for f in found})
    return min(len(found), of_classes, chosen.get("images", sys.maxsize))


def photo_options(wildcards):
    """How many photos are taken and what to do with unreadable ones, as options of the step."""
    options = {
        "images": "--limit",
        "images_per_class": "--per-class",
        "unreadable": "--unreadable",
    }
    chosen = sample_set(wildcards.sample_set)
    return [
        str(w) for key, option in options.items() if key in chosen for w in (option, chosen[key])
    ]


def sample_sets_with(key):
    """A wildcard constraint: names of the sample sets that have some key, or none at all."""
    names = [re.escape(n) for n, chosen in config["sample_sets"].items() if key in chosen]
    return "|".join(names) or "(?!)"


def layer_options(layers):
    """A `layers` setting as options of a step."""
    return ["--patterns", *layers] if isinstance(layers, list) else ["--layers", layers]


def entry_of(wildcards):
    """Digest of a model's own entry and loader."""
    return entry_digest(find_entry(wildcards.model, config["zoo"]))


def local_file_of(wildcards):
    """The sha256 of weights that are given by a path alone: whatever lies there now is meant.

    No input, because its time says little: a file copied with its times is older than what was made
    of the one before, and one of a new time and the same bytes would rerun all that follows.
    """
    entry = find_entry(wildcards.model, config["zoo"])
    if "path" in entry["weights"] and "sha256" not in entry["weights"]:
        return sha256_of_weights(wildcards.model, entry)


def cores_of_devices(count=1):
    """Threads of a heavy job: all cores, shared where several devices run jobs side by side."""
    installed = max(1, installed_devices())
    return max(1, workflow.cores * min(count, installed) // installed)


def neighbours_kept(wildcards):
    """Partners that are kept of each unit; 0: the whole table, on which the clustering works."""
    whole = config["correlation"]["keep"] == "table" or wildcards.a == wildcards.b
    return 0 if whole else config["neighbours"]


def pages(name):
    """What one looks at: the page and the figures of a sample set."""
    files = ["index.html", "figure2.png", "figure3.png"]
    return [f"results/dictionary/{name}/{file}" for file in files]


def keeps(kept):
    """A wildcard constraint: names of the sample sets whose maps are kept so: all or matched."""
    names = [name for name in config["sample_sets"] if keep_of(name) == kept]
    return "|".join(map(re.escape, names)) or "(?!)"


def keep_of(name):
    """Which maps of a sample set are kept: all, or those of matched units."""
    chosen = config["sample_sets"][name]
    return chosen.get("keep", config["activations"].get("keep", ALL))


def runs(wildcards):
    """Whether the models of a sample set are run where their maps are needed, and no store read."""
    return keep_of(wildcards.sample_set) == MATCHED


def source_of(side):
    """What gives the maps of the model that a wildcard names: its dump, or its stream."""

    def of(wildcards):
        kind, ending = ("streams", "json") if runs(wildcards) else ("activations", "zarr.done.json")
        return f"results/{kind}/{wildcards.sample_set}/{wildcards[side]}.{ending}"

    return of


def buddies_of(wildcards):
    """Tables of best buddies that a model of a sample set is in, but for those with itself."""
    name, first = wildcards.sample_set, first_of(wildcards.sample_set)
    others = others_of(name) if wildcards.model == first else [wildcards.model]
    return [f"results/best_buddies/{name}/{first}--{model}.csv" for model in others]


def side_of(wildcards):
    """On which side of those tables it stands."""
    return "a" if wildcards.model == first_of(wildcards.sample_set) else "b"


def stream_options(wildcards):
    """A model, its layers and its images, as options of the step."""
    entry, chosen = find_entry(wildcards.model, config["zoo"]), sample_set(wildcards.sample_set)
    options = {
        "--model": [wildcards.model],
        "--zoo": [config["zoo"]],
        "--samples": [f"results/samples/{wildcards.sample_set}.zarr"],
        "--patterns": layer_patterns(entry, chosen["layers"], wildcards.model),
        "--dtype": [config["activations"]["dtype"]],
        "--images-per-shard": [str(config["activations"]["images_per_shard"])],
    }
    return [word for key, words in options.items() for word in (key, *words)]


def maps(kind):
    """Manifests of generator and models of a sample set."""

    def of(wildcards):
        names = everyone(wildcards.sample_set)
        return [f"results/{kind}/{wildcards.sample_set}/{n}.zarr.done.json" for n in names]

    return of


def buddies_with(models):
    """Tables of the generator's best buddies with some models, a function of the sample set."""

    def of(wildcards):
        name = wildcards.sample_set
        first = first_of(name)
        return [f"results/best_buddies/{name}/{first}--{m}.csv" for m in models(name)]

    return of


def correlations_of_the_generator(wildcards):
    """Manifest of the generator's correlations with itself."""
    name = first_of(wildcards.sample_set)
    return f"results/correlations/{wildcards.sample_set}/{name}--{name}.zarr.done.json"


def settings_in_words():
    """What a dictionary was mined with, for its page."""
    least = config["clustering"]["least_correlation"]
    words = {"average": f"average linkage, r ≥ {least}", "components": "the paper's components"}
    return f"K = {config['neighbours']}, concepts by {words[config['clustering']['method']]}"


def stores(manifests):
    """The stores beside manifests."""
    return [str(m).removesuffix(".done.json") for m in manifests]
