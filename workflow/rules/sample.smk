"""Sample: the images that every model is shown, made by a generator or read from files.

INPUTS   results/weights/{generator}.txt, or image files, or a list of pictures
OUTPUTS  results/samples/{sample_set}.zarr   image (image, rgb, y, x) float32 in [0, 1]; of a
         generator latent (image, latent) and, if it has classes, label (image)
"""


rule sample:
    """Images of a generator."""
    input:
        lambda w: f"results/weights/{sample_set(w.sample_set)['generator']}.txt",
    output:
        "results/samples/{sample_set}.zarr.done.json",
    log:
        "logs/sample/{sample_set}.log",
    benchmark:
        "benchmarks/sample/{sample_set}.tsv"
    wildcard_constraints:
        sample_set=sample_sets_with("generator"),
    conda:
        ENVIRONMENT
    threads: cores_of_devices()
    resources:
        gpu=1,
    params:
        generator=lambda w: sample_set(w.sample_set)["generator"],
        images=lambda w: sample_set(w.sample_set)["images"],
        seed=lambda w: sample_set(w.sample_set)["seed"],
        options=sampling_options,
        store=subpath(output[0], strip_suffix=".done.json"),
        zoo=config["zoo"],
        identity=identity("samples"),
    shell:
        r"""
        python -m rosetta_steps.sampling --generator {params.generator:q} --zoo {params.zoo:q} \
            --images {params.images} --seed {params.seed} {params.options:q} \
            --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """


rule photos:
    """Images from files."""
    output:
        "results/samples/{sample_set}.zarr.done.json",
    log:
        "logs/photos/{sample_set}.log",
    benchmark:
        "benchmarks/photos/{sample_set}.tsv"
    wildcard_constraints:
        sample_set=sample_sets_with("photos"),
    conda:
        ENVIRONMENT
    params:
        images=lambda w: photos(w.sample_set),
        size=lambda w: sample_set(w.sample_set)["size"],
        options=photo_options,
        identity=identity("samples"),
        store=subpath(output[0], strip_suffix=".done.json"),
    shell:
        r"""
        python -m rosetta_steps.image_folder --images {params.images:q} --size {params.size} \
            {params.options:q} --identity {params.identity} \
            --output {params.store:q} 2>&1 | tee {log:q}
        """


rule pictures:
    """Images from a list of single pictures."""
    output:
        "results/samples/{sample_set}.zarr.done.json",
    log:
        "logs/pictures/{sample_set}.log",
    benchmark:
        "benchmarks/pictures/{sample_set}.tsv"
    wildcard_constraints:
        sample_set=sample_sets_with("pictures"),
    conda:
        ENVIRONMENT
    params:
        pictures=lambda w: sample_set(w.sample_set)["pictures"],
        size=lambda w: sample_set(w.sample_set)["size"],
        identity=identity("samples"),
        store=subpath(output[0], strip_suffix=".done.json"),
    shell:
        r"""
        python -m rosetta_steps.pictures --pictures {params.pictures:q} --size {params.size} \
            --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """
