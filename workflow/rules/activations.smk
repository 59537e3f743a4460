"""Activations: the maps of every unit of a model on every image, and their moments.

INPUTS   results/samples/{sample_set}.zarr
OUTPUTS  results/activations/{sample_set}/{model}.zarr   activation (image, channel, y, x) a layer
         results/moments/{sample_set}/{model}.zarr       mean and product maps a layer, float64
         results/streams/{sample_set}/{model}.json       with keep: matched, what runs instead

With keep: matched nothing is dumped before the best buddies are known: models run where their maps
are needed, and then once more, for the maps of the matched units.
"""


rule activations:
    """Maps of one model; a killed job goes on with the first block that is not on disk."""
    input:
        samples="results/samples/{sample_set}.zarr.done.json",
        weights="results/weights/{model}.txt",
    output:
        "results/activations/{sample_set}/{model}.zarr.done.json",
    log:
        "logs/activations/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/activations/{sample_set}/{model}.tsv"
    wildcard_constraints:
        sample_set=keeps(ALL),
    conda:
        ENVIRONMENT
    threads: cores_of_devices()
    resources:
        gpu=1,
    params:
        identity=identity("activations"),
        stream=stream_options,
        store=subpath(output[0], strip_suffix=".done.json"),
    shell:
        r"""
        python -m rosetta_steps.activations {params.stream:q} --threads {threads} \
            --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """


rule stream:
    """What a model runs on, to be read as its activations would be."""
    input:
        samples="results/samples/{sample_set}.zarr.done.json",
        weights="results/weights/{model}.txt",
    output:
        "results/streams/{sample_set}/{model}.json",
    log:
        "logs/stream/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/stream/{sample_set}/{model}.tsv"
    wildcard_constraints:
        sample_set=keeps(MATCHED),
    conda:
        ENVIRONMENT
    threads: cores_of_devices()
    resources:
        gpu=1,
    params:
        identity=identity("stream"),
        stream=stream_options,
    shell:
        r"""
        python -m rosetta_steps.streams {params.stream:q} --threads {threads} \
            --identity {params.identity} --output {output:q} 2>&1 | tee {log:q}
        """


use rule activations as matched_activations with:
    input:
        samples="results/samples/{sample_set}.zarr.done.json",
        weights="results/weights/{model}.txt",
        buddies=buddies_of,
        manifests=manifests_of(buddies_of),
    log:
        "logs/matched_activations/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/matched_activations/{sample_set}/{model}.tsv"
    wildcard_constraints:
        sample_set=keeps(MATCHED),
    params:
        identity=identity("activations"),
        stream=matched_options,
        store=subpath(output[0], strip_suffix=".done.json"),


rule moments:
    """Moments of one model's units, from which mean and variance at any size follow."""
    input:
        source_of("model"),
    output:
        "results/moments/{sample_set}/{model}.zarr.done.json",
    log:
        "logs/moments/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/moments/{sample_set}/{model}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda w: cores_of_devices() if runs(w) else 1
    resources:
        gpu=lambda w: int(runs(w)),
    params:
        maps=lambda w, input: stores(input),
        store=subpath(output[0], strip_suffix=".done.json"),
        splits=config["correlation"]["splits"],
        identity=identity("moments"),
    shell:
        r"""
        python -m rosetta_steps.moments --activations {params.maps:q} \
            --splits {params.splits} --threads {threads} --identity {params.identity} \
            --output {params.store:q} 2>&1 | tee {log:q}
        """
