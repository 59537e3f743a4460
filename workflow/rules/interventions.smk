"""Interventions: what a model's units do when their matches in the generator are clamped.

INPUTS   results/samples, dictionary (rosetta.csv), moments of generator and model
OUTPUTS  results/interventions/{sample_set}/{model}.csv
"""


rule intervention:
    """The strongest pair with a model of each of the strongest concepts, clamped and silenced."""
    input:
        samples="results/samples/{sample_set}.zarr.done.json",
        table="results/dictionary/{sample_set}/rosetta.csv",
        manifest="results/dictionary/{sample_set}/rosetta.csv.done.json",
        moments=RULES.moments_of_intervention,
        weights=RULES.weights_of_intervention,
    output:
        table="results/interventions/{sample_set}/{model}.csv",
        manifest="results/interventions/{sample_set}/{model}.csv.done.json",
    log:
        "logs/intervention/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/intervention/{sample_set}/{model}.tsv"
    threads: NEEDS.cores()
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("intervention"),
        runtime=NEEDS.minutes("intervention"),
    params:
        generator=RULES.generator_of_intervention,
        zoo=config["zoo"],
        samples=subpath(input.samples, strip_suffix=".done.json"),
        moments=lambda w, input: stores(input.moments),
        concepts=config["interventions"]["concepts"],
        images=config["interventions"]["images"],
        controls=config["interventions"]["controls"],
        identity=identity("intervention"),
    shell:
        r"""
        python -m rosetta_steps.intervention --generator {params.generator:q} \
            --model {wildcards.model:q} --zoo {params.zoo:q} --samples {params.samples:q} \
            --table {input.table:q} --moments {params.moments:q} --concepts {params.concepts} \
            --images {params.images} --controls {params.controls} --threads {threads} \
            --identity {params.identity} --output {output.table:q} 2>&1 | tee {log:q}
        """


rule interventions:
    """The causal check of every model of the sample set."""
    input:
        RULES.all_interventions,
    localrule: True
