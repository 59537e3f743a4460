"""Weights: fetch each file once into a cache that outlives results/, check its sha256, and open it.

INPUTS   config/models.yaml, and weights that an entry gives by a path
OUTPUTS  results/weights/{model}.txt   where the checked file lies, and its sha256
"""


rule fetch_weights:
    """Weights file of one model, held against its entry: what does not fit fails here, first."""
    output:
        "results/weights/{model}.txt",
    log:
        "logs/fetch_weights/{model}.log",
    benchmark:
        "benchmarks/fetch_weights/{model}.tsv"
    priority: 1
    localrule: True  # nodes of a cluster often reach no network
    params:
        entry=lambda w: RULES.model(w.model),
        zoo=config["zoo"],
    shell:
        r"""
        python -m rosetta_steps.zoo fetch {wildcards.model:q} --zoo {params.zoo:q} \
            --output {output:q} 2>&1 | tee {log:q}
        """
