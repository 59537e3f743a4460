"""Weights: fetch each file once into a cache that outlives results/, and check its sha256.

INPUTS   config/models.yaml, and weights that an entry gives by a path
OUTPUTS  results/weights/{model}.txt   where the checked file lies, and its sha256
"""


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
        entry=lambda w: RECIPES.model(w.model),
        zoo=config["zoo"],
    shell:
        r"""
        python -m rosetta_steps.zoo fetch {wildcards.model:q} --zoo {params.zoo:q} \
            --output {output:q} 2>&1 | tee {log:q}
        """
