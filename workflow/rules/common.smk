"""What the rules share: the checked config, and what an artefact follows from."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir).parent))

from snakemake.exceptions import WorkflowError

from rosetta_steps.devices import installed_devices
from rosetta_steps.digest import algorithm
from rosetta_steps.zoo.entries import (
    check,
    entry_digest,
    find_entry,
    layer_patterns,
    suggestion,
)


wildcard_constraints:
    sample_set=r"[^/]+",
    model=r"[^/]+?",
    a=r"[^/]+?",
    b=r"[^/]+?",


ENVIRONMENT = "../../environment.yml"


def check_config():
    """Hold the config against its schema and the zoo: a typo ends here, not in a job."""
    check(config, "config", "config/config.yaml")
    sample_set(config["sample_set"])
    for name, chosen in config["sample_sets"].items():
        roles = [(chosen["generator"], "generator"), *((m, "model") for m in chosen["models"])]
        for model, role in roles:
            entry = find_entry(model, config["zoo"])
            layer_patterns(entry, chosen["layers"], model)
            if entry["role"] != role:
                raise ValueError(
                    f"sample set {name}: {model} is a {entry['role']}, not a {role} ({config['zoo']})."
                )


def sample_set(name):
    """Settings of a sample set."""
    if name not in config["sample_sets"]:
        known = list(config["sample_sets"])
        raise ValueError(f"no sample set '{name}' in config/config.yaml. {suggestion(name, known)}")
    return config["sample_sets"][name]


def everyone(name):
    """Generator and models of a sample set."""
    return [sample_set(name)["generator"], *sample_set(name)["models"]]


def layer_options(layers):
    """A `layers` setting as options of a step."""
    return ["--patterns", *layers] if isinstance(layers, list) else ["--layers", layers]


def entry_of(wildcards):
    """Digest of a model's own entry and loader."""
    return entry_digest(find_entry(wildcards.model, config["zoo"]))


def cores_of_a_device():
    """Threads of a heavy job: all cores, shared where several devices run jobs side by side."""
    return max(1, workflow.cores // max(1, installed_devices()))


def pages(name):
    """What one looks at: the page and the figures of a sample set."""
    files = ["index.html", "figure2.png", "figure3.png"]
    return [f"results/dictionary/{name}/{file}" for file in files]


def maps(kind):
    """Manifests of generator and models of a sample set."""

    def of(wildcards):
        names = everyone(wildcards.sample_set)
        return [f"results/{kind}/{wildcards.sample_set}/{n}.zarr.done.json" for n in names]

    return of


def buddies_with(models):
    """Tables of the generator's best buddies with some models."""

    def of(wildcards):
        chosen = sample_set(wildcards.sample_set)
        folder = f"results/best_buddies/{wildcards.sample_set}"
        return [f"{folder}/{chosen['generator']}--{m}.csv" for m in models(chosen)]

    return of


def correlations_of_the_generator(wildcards):
    """Manifest of the generator's correlations with itself."""
    name = sample_set(wildcards.sample_set)["generator"]
    return f"results/correlations/{wildcards.sample_set}/{name}--{name}.zarr.done.json"


def settings_in_words():
    """What a dictionary was mined with, for its page."""
    least = config["clustering"]["least_correlation"]
    words = {"average": f"average linkage, r ≥ {least}", "components": "the paper's components"}
    return f"K = {config['neighbours']}, concepts by {words[config['clustering']['method']]}"


def stores(manifests):
    """The stores beside manifests."""
    return [str(m).removesuffix(".done.json") for m in manifests]


try:
    check_config()
except ValueError as error:
    raise WorkflowError(str(error)) from None
