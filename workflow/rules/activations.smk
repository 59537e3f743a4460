"""Activations: the maps of every unit of a model on every image, and their moments.

INPUTS   results/samples/{sample_set}.zarr
OUTPUTS  results/activations/{sample_set}/{model}.zarr   activation (image, channel, y, x) a layer
         results/moments/{sample_set}/{model}.zarr       mean and product maps a layer, float64
         results/streams/{sample_set}/{model}.json       with store: matched, what runs instead

With store: matched nothing is dumped: models run where their maps are needed. So do untrained copies
of models (untrained: N in a sample set), whatever is stored.
"""


rule activations:
    """Maps of one model, and their moments, from which mean and variance at any size follow.

    A killed job goes on with the first block that is not on disk.
    """
    input:
        samples="results/samples/{sample_set}.zarr.done.json",
        weights="results/weights/{model}.txt",
    output:
        maps="results/activations/{sample_set}/{model}.zarr.done.json",
        moments="results/moments/{sample_set}/{model}.zarr.done.json",
    log:
        "logs/activations/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/activations/{sample_set}/{model}.tsv"
    wildcard_constraints:
        sample_set=RULES.sets_that_store("all"),
        model=DUMPED,
    threads: NEEDS.cores_beside("activations")
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("activations"),
        runtime=NEEDS.minutes("activations"),
    params:
        stream=RULES.stream_options,
        splits=config["correlation"]["splits"],
        store=subpath(output.maps, strip_suffix=".done.json"),
        moments=subpath(output.moments, strip_suffix=".done.json"),
        identity=identity("activations"),
        identity_of_moments=identity("moments"),
    shell:
        r"""
        python -m rosetta_steps.activations {params.stream:q} --splits {params.splits} \
            --threads {threads} --identity {params.identity} --output {params.store:q} \
            --identity-of-moments {params.identity_of_moments} --moments {params.moments:q} \
            2>&1 | tee {log:q}
        """


# Of a sample set that stores its maps, untrained copies alone run.
ruleorder: activations > moments


rule streams:
    """What a model runs on, to be read as its activations would be."""
    input:
        samples="results/samples/{sample_set}.zarr.done.json",
        weights=RULES.weights_of_the_model,
    output:
        "results/streams/{sample_set}/{model}.json",
    log:
        "logs/streams/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/streams/{sample_set}/{model}.tsv"
    wildcard_constraints:
        sample_set=RULES.sets_that_stream(),
    threads: NEEDS.cores_beside("streams")
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("streams"),
        runtime=NEEDS.minutes("streams"),
    params:
        identity=identity("stream"),
        stream=RULES.stream_options,
    shell:
        r"""
        python -m rosetta_steps.streams {params.stream:q} --threads {threads} \
            --identity {params.identity} --output {output:q} 2>&1 | tee {log:q}
        """


rule moments:
    """Moments of a model whose maps are not stored: it runs for them."""
    input:
        "results/streams/{sample_set}/{model}.json",
    output:
        "results/moments/{sample_set}/{model}.zarr.done.json",
    log:
        "logs/moments/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/moments/{sample_set}/{model}.tsv"
    wildcard_constraints:
        sample_set=RULES.sets_that_stream(),
    threads: NEEDS.cores_beside("moments")
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("moments"),
        runtime=NEEDS.minutes("moments"),
    params:
        store=subpath(output[0], strip_suffix=".done.json"),
        splits=config["correlation"]["splits"],
        identity=identity("moments"),
    shell:
        r"""
        python -m rosetta_steps.moments --activations {input:q} \
            --splits {params.splits} --threads {threads} --identity {params.identity} \
            --output {params.store:q} 2>&1 | tee {log:q}
        """


use rule moments as moments_alone with:
    output:
        "results/moments_taken/{sample_set}/{model}.zarr.done.json",
    wildcard_constraints:
        sample_set=RULES.sets_that_store(MATCHED),


rule moments_of_the_pass:
    """Moments of a model of a set with store: matched, wherever they were taken.

    Those of the first are taken alone, those of the others while they are correlated with it.
    """
    input:
        RULES.moments_taken,
    output:
        "results/moments/{sample_set}/{model}.zarr.done.json",
    log:
        "logs/moments_of_the_pass/{sample_set}/{model}.log",
    wildcard_constraints:
        sample_set=RULES.sets_that_store(MATCHED),
    localrule: True
    params:
        taken=subpath(input[0], strip_suffix=".done.json"),
        store=subpath(output[0], strip_suffix=".done.json"),
    shell:
        r"""
        python -m rosetta_steps.moments --taken {params.taken:q} --output {params.store:q} \
            2>&1 | tee {log:q}
        """


ruleorder: moments_of_the_pass > moments
