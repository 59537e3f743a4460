"""Sample: latents, and the images that every model is shown.

INPUTS   results/weights/{generator}.txt
OUTPUTS  results/samples/{sample_set}.zarr   latent (image, latent), image (image, rgb, y, x)
"""


rule sample:
    """Images of a sample set."""
    input:
        lambda w: f"results/weights/{sample_set(w.sample_set)['generator']}.txt",
    output:
        "results/samples/{sample_set}.zarr.done.json",
    log:
        "logs/sample/{sample_set}.log",
    benchmark:
        "benchmarks/sample/{sample_set}.tsv"
    conda:
        ENVIRONMENT
    threads: cores_of_a_device()
    resources:
        gpu=1,
    params:
        generator=lambda w: sample_set(w.sample_set)["generator"],
        images=lambda w: sample_set(w.sample_set)["images"],
        seed=lambda w: sample_set(w.sample_set)["seed"],
        store=subpath(output[0], strip_suffix=".done.json"),
        zoo=config["zoo"],
        algorithm=algorithm("sampling"),
    shell:
        r"""
        python -m rosetta_steps.sampling --generator {params.generator:q} --zoo {params.zoo:q} \
            --images {params.images} --seed {params.seed} --output {params.store:q} \
            2>&1 | tee {log:q}
        """
