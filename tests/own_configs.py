"""The configs of this repository, laid over each other as --configfile does."""

import copy

from conftest import ROOT

from rosetta_steps.config.yaml_files import read_yaml

FILE = "config/config.yaml"
EXAMPLES = [
    f"config/examples/{name}.yaml"
    for name in ("faces", "eyes", "inversions-and-edits", "replications")
]


def laid_over(config, other):
    """One config over another, as Snakemake does."""
    config = copy.deepcopy(config)
    for key, value in other.items():
        if isinstance(value, dict):
            config[key] = laid_over(config.get(key) or {}, value)
        else:
            config[key] = value
    return config


def with_examples():
    """The config with the examples on embedded models, of the sample set that it asks for."""
    config = asked = read_yaml(ROOT / FILE)
    for example in EXAMPLES:
        config = laid_over(config, read_yaml(ROOT / example))
    return config | {"sample_set": asked["sample_set"]}
