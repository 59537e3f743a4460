"""Activations: the maps of every unit of a model on every image, and their moments.

INPUTS   results/samples/{sample_set}.zarr
OUTPUTS  results/activations/{sample_set}/{model}.zarr   activation (image, channel, y, x) a layer
         results/moments/{sample_set}/{model}.zarr       mean and product maps a layer, float64
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
    conda:
        ENVIRONMENT
    threads: cores_of_a_device()
    resources:
        gpu=1,
    params:
        entry=entry_of,
        layers=lambda w: layer_patterns(
            find_entry(w.model, config["zoo"]), sample_set(w.sample_set)["layers"], w.model
        ),
        dtype=config["activations"]["dtype"],
        images_per_shard=config["activations"]["images_per_shard"],
        samples=subpath(input.samples, strip_suffix=".done.json"),
        store=subpath(output[0], strip_suffix=".done.json"),
        zoo=config["zoo"],
        algorithm=algorithm("activations"),
    shell:
        r"""
        python -m rosetta_steps.activations --model {wildcards.model:q} --zoo {params.zoo:q} \
            --samples {params.samples:q} --patterns {params.layers:q} --dtype {params.dtype} \
            --images-per-shard {params.images_per_shard} --threads {threads} \
            --output {params.store:q} 2>&1 | tee {log:q}
        """


rule moments:
    """Moments of one model's units, from which mean and variance at any size follow."""
    input:
        "results/activations/{sample_set}/{model}.zarr.done.json",
    output:
        "results/moments/{sample_set}/{model}.zarr.done.json",
    log:
        "logs/moments/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/moments/{sample_set}/{model}.tsv"
    conda:
        ENVIRONMENT
    params:
        activations=subpath(input[0], strip_suffix=".done.json"),
        store=subpath(output[0], strip_suffix=".done.json"),
        splits=config["correlation"]["splits"],
        algorithm=algorithm("moments"),
    shell:
        r"""
        python -m rosetta_steps.moments --activations {params.activations:q} \
            --splits {params.splits} --output {params.store:q} 2>&1 | tee {log:q}
        """
