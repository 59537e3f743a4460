"""Best buddies: units that are each among the other's K nearest neighbours (eq. 3).

INPUTS   results/correlations/{sample_set}/{a}--{b}.zarr
OUTPUTS  results/best_buddies/{sample_set}/{a}--{b}.csv
         results/matched_maps/{sample_set}/{model}.zarr   maps of the units that are in them
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


rule matched_maps:
    """Maps of a model's matched units, which pages and figures read."""
    input:
        maps=RULES.source_of("model"),
        buddies=RULES.tables_of_its_buddies,
        manifests=manifests_of(RULES.tables_of_its_buddies),
    output:
        "results/matched_maps/{sample_set}/{model}.zarr.done.json",
    log:
        "logs/matched_maps/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/matched_maps/{sample_set}/{model}.tsv"
    threads: NEEDS.cores_beside("matched_maps")
    resources:
        gpu=lambda w: NEEDS.gpus(int(RULES.runs_model(w.sample_set, w.model))),
        mem_mb=NEEDS.memory("matched_maps"),
        runtime=NEEDS.minutes("matched_maps"),
    params:
        maps=lambda w, input: stores([input.maps]),
        side=RULES.side_of,
        images_per_shard=config["activations"]["images_per_shard"],
        store=subpath(output[0], strip_suffix=".done.json"),
        identity=identity("matched_maps"),
    shell:
        r"""
        python -m rosetta_steps.matched_maps --maps {params.maps:q} --buddies {input.buddies:q} \
            --side {params.side} --images-per-shard {params.images_per_shard} \
            --threads {threads} --identity {params.identity} \
            --output {params.store:q} 2>&1 | tee {log:q}
        """
