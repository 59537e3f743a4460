"""Best buddies: units that are each among the other's K nearest neighbours (eq. 3).

INPUTS   results/correlations/{sample_set}/{a}--{b}.zarr
OUTPUTS  results/best_buddies/{sample_set}/{a}--{b}.csv
"""


rule best_buddies:
    """Best buddies of two models, or of the generator with itself."""
    input:
        "results/correlations/{sample_set}/{a}--{b}.zarr.done.json",
    output:
        table="results/best_buddies/{sample_set}/{a}--{b}.csv",
        manifest="results/best_buddies/{sample_set}/{a}--{b}.csv.done.json",
    log:
        "logs/best_buddies/{sample_set}/{a}--{b}.log",
    benchmark:
        "benchmarks/best_buddies/{sample_set}/{a}--{b}.tsv"
    params:
        correlations=subpath(input[0], strip_suffix=".done.json"),
        neighbours=config["neighbours"],
        identity=identity("best_buddies"),
    shell:
        r"""
        python -m rosetta_steps.best_buddies --correlations {params.correlations:q} \
            --neighbours {params.neighbours} --identity {params.identity} \
            --output {output.table:q} 2>&1 | tee {log:q}
        """
