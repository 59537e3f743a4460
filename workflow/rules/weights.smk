"""Weights: fetch each file once into a cache that outlives results/, and check its sha256.

INPUTS   config/models.yaml, and weights that an entry gives by a path
OUTPUTS  results/weights/{model}.txt   where the checked file lies, and its sha256
"""

from rosetta_steps.zoo.weights import sha256_of_weights


def local_file_of(wildcards):
    """The sha256 of weights that are given by a path alone: whatever lies there now is meant.

    No input, because its time says little: a file copied with its times is older than what was made
    of the one before, and one of a new time and the same bytes would rerun all that follows.
    """
    entry = find_entry(wildcards.model, config["zoo"])
    if "path" in entry["weights"] and "sha256" not in entry["weights"]:
        return sha256_of_weights(wildcards.model, entry)


rule fetch_weights:
    """Weights file of one model."""
    output:
        "results/weights/{model}.txt",
    log:
        "logs/fetch_weights/{model}.log",
    benchmark:
        "benchmarks/fetch_weights/{model}.tsv"
    priority: 1
    conda:
        ENVIRONMENT
    params:
        entry=entry_of,
        file=local_file_of,
        zoo=config["zoo"],
    shell:
        r"""
        python -m rosetta_steps.zoo fetch {wildcards.model:q} --zoo {params.zoo:q} \
            --output {output:q} 2>&1 | tee {log:q}
        """
