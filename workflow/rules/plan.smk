"""Plan: units, bytes and seconds of a sample set, before anything is written.

INPUTS   results/weights/{model}.txt, of generator and models
OUTPUTS  results/plans/{sample_set}.txt    to read
         results/plans/{sample_set}.json   memory and minutes of a job, read with the next workflow
"""


rule plan:
    """Print what is to come, and refuse what disk or memory cannot hold.

    No rule reads it, so that a plan that changed or was deleted reruns nothing; its priority puts
    it before them, and with all cores nothing runs beside it.
    """
    input:
        RULES.weights_of_the_set,
    output:
        text="results/plans/{sample_set}.txt",
        needs="results/plans/{sample_set}.json",
    log:
        "logs/plan/{sample_set}.log",
    benchmark:
        "benchmarks/plan/{sample_set}.tsv"
    priority: 2
    localrule: True  # on a cluster, it is to be there before jobs are submitted
    threads: workflow.cores
    params:
        models=lambda w: RULES.everyone(w.sample_set),
        layers=RULES.layer_options,
        images=lambda w: RULES.images_of(w.sample_set),
        dtype=config["activations"]["dtype"],
        images_per_shard=config["activations"]["images_per_shard"],
        zoo=config["zoo"],
        store=lambda w: RULES.store_of(w.sample_set),
        splits=config["correlation"]["splits"],
        neighbours=config["neighbours"],
        untrained=lambda w: RULES.sample_set(w.sample_set).get("untrained", 0),
        maps=lambda w, output: RULES.kept_maps(w, output.text),
    shell:
        r"""
        python -m rosetta_steps.plan --models {params.models:q} --zoo {params.zoo:q} \
            {params.layers:q} --images {params.images} --dtype {params.dtype} \
            --images-per-shard {params.images_per_shard} --maps {params.maps:q} \
            --store {params.store} --splits {params.splits} --neighbours {params.neighbours} \
            --untrained {params.untrained} --output {output.text:q} 2>&1 | tee {log:q}
        """
