"""Correlate: how alike do the units of two models respond? (eq. 2)

INPUTS   results/activations/{sample_set}/{model}.zarr and results/moments/..., of both
OUTPUTS  results/correlations/{sample_set}/{a}--{b}.zarr   correlation (unit_a, unit_b) float32
"""


rule correlate:
    """Pearson correlation of each unit of model a with each unit of model b."""
    input:
        a="results/activations/{sample_set}/{a}.zarr.done.json",
        b="results/activations/{sample_set}/{b}.zarr.done.json",
        moments_a="results/moments/{sample_set}/{a}.zarr.done.json",
        moments_b="results/moments/{sample_set}/{b}.zarr.done.json",
    output:
        "results/correlations/{sample_set}/{a}--{b}.zarr.done.json",
    log:
        "logs/correlate/{sample_set}/{a}--{b}.log",
    benchmark:
        "benchmarks/correlate/{sample_set}/{a}--{b}.tsv"
    conda:
        ENVIRONMENT
    threads: cores_of_a_device()
    resources:
        gpu=1,
    params:
        a=subpath(input.a, strip_suffix=".done.json"),
        b=subpath(input.b, strip_suffix=".done.json"),
        moments_a=subpath(input.moments_a, strip_suffix=".done.json"),
        moments_b=subpath(input.moments_b, strip_suffix=".done.json"),
        store=subpath(output[0], strip_suffix=".done.json"),
        images_per_strip=config["correlation"]["images_per_strip"],
        images_per_block=config["correlation"]["images_per_block"],
        algorithm=algorithm("correlation"),
    shell:
        r"""
        python -m rosetta_steps.correlation --a {params.a:q} --moments-a {params.moments_a:q} \
            --b {params.b:q} --moments-b {params.moments_b:q} --threads {threads} \
            --images-per-strip {params.images_per_strip} \
            --images-per-block {params.images_per_block} --output {params.store:q} \
            2>&1 | tee {log:q}
        """
