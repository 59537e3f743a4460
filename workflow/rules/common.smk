"""What the rules share: the checked config, and what an artefact follows from."""

import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from rosetta_steps.workflow.checking import Checked, settled
from rosetta_steps.runtime.devices import installed_devices
from rosetta_steps.storage.digests import algorithm
from rosetta_steps.workflow.chosen import ALL, ARM_WITH_ALL, MATCHED
from rosetta_steps.workflow.recipes import Recipes
from rosetta_steps.zoo.entries import find_entry, layer_patterns


wildcard_constraints:
    sample_set=r"[^/]+",
    model=r"[^/]+?",
    a=r"[^/]+?",
    b=r"[^/]+?",


# A typo ends here, not in a job. What null takes away is gone from here on.
try:
    settled_config = settled(config, ORIGINS)
    config.clear()
    config.update(settled_config)
    CHECKED = Checked(config, ORIGINS)
    CHECKED.everything()
except ValueError as error:
    raise WorkflowError(str(error)) from None

ENVIRONMENT = "../../environment.yml"
RECIPES = Recipes(config)


def held(of, hold):
    """What a config says of a name, which is held against the zoo when it is first needed."""

    def found(name):
        of(name)  # says so if there is none
        hold(name)
        return of(name)

    return found


sample_set, everyone, first_of, others_of, images_of, photos = (
    held(of, CHECKED.hold_sample_set)
    for of in (
        RECIPES.sample_set,
        RECIPES.everyone,
        RECIPES.first_of,
        RECIPES.others_of,
        RECIPES.images_of,
        RECIPES.photos,
    )
)
keep_of = RECIPES.keep_of


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


def cores_of_devices(count=1):
    """Threads of a heavy job: all cores, shared where several devices run jobs side by side."""
    installed = max(1, installed_devices())
    return max(1, workflow.cores * min(count, installed) // installed)


def pages(name):
    """What one looks at: the page and the figures of a sample set."""
    files = ["index.html", "figure2.png", "figure3.png"]
    return [f"results/dictionary/{name}/{file}" for file in files]


def keeps(kept):
    """A wildcard constraint: names of the sample sets whose maps are kept so: all or matched."""
    names = [name for name in config["sample_sets"] if RECIPES.keep_of(name) == kept]
    return "|".join(map(re.escape, names)) or "(?!)"


def runs(wildcards):
    """Whether the models of a sample set are run where their maps are needed, and no store read."""
    return RECIPES.runs(wildcards.sample_set)


def source_of(side):
    """What gives the maps of the model that a wildcard names: its dump, or its stream."""

    def of(wildcards):
        kind, ending = ("streams", "json") if runs(wildcards) else ("activations", "zarr.done.json")
        return f"results/{kind}/{wildcards.sample_set}/{wildcards[side]}.{ending}"

    return of


def buddies_of(wildcards):
    """Tables of best buddies that a model of a sample set is in, but for those with itself."""
    pairs = RECIPES.buddies_of(wildcards.sample_set, wildcards.model)
    return [f"results/best_buddies/{wildcards.sample_set}/{a}--{b}.csv" for a, b in pairs]


def manifests_of(tables):
    """Manifests of the tables that an input function gives."""
    return lambda wildcards: [f"{table}.done.json" for table in tables(wildcards)]


def side_of(wildcards):
    """On which side of those tables it stands."""
    return "a" if wildcards.model == first_of(wildcards.sample_set) else "b"


def stream_options(wildcards, input):
    """A model, its layers and its images, as options of the step."""
    entry, chosen = find_entry(wildcards.model, config["zoo"]), sample_set(wildcards.sample_set)
    options = {
        "--model": [wildcards.model],
        "--zoo": [config["zoo"]],
        "--samples": stores([input.samples]),
        "--patterns": layer_patterns(entry, chosen["layers"], wildcards.model),
        "--dtype": [config["activations"]["dtype"]],
        "--images-per-shard": [str(config["activations"]["images_per_shard"])],
    }
    return [word for key, words in options.items() for word in (key, *words)]


def matched_options(wildcards, input):
    """The same, of the units that are in tables of best buddies."""
    return [*stream_options(wildcards, input), f"--matched-{side_of(wildcards)}", *input.buddies]


def identity(kind):
    """What an artefact follows from, as a parameter of its rule: see rosetta_steps.workflow."""
    return lambda wildcards: RECIPES.identity(kind, wildcards)


def stale(targets):
    """What is missing on the way to some targets, or follows from something else than the config."""
    try:
        return RECIPES.stale(targets)
    except ValueError as error:
        raise WorkflowError(str(error)) from None


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
