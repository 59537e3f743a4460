"""Sample: the images that every model is shown, made by a generator or read from files.

INPUTS   results/weights/{generator}.txt, or image files, or a list of pictures
OUTPUTS  results/samples/{sample_set}.zarr   image (image, rgb, y, x) float32 in [0, 1]; of a
         generator latent (image, latent) and, if it has classes, label (image)
"""


rule sampling:
    """Images of a generator."""
    input:
        RULES.weights_of_its_generator,
    output:
        "results/samples/{sample_set}.zarr.done.json",
    log:
        "logs/sampling/{sample_set}.log",
    benchmark:
        "benchmarks/sampling/{sample_set}.tsv"
    wildcard_constraints:
        sample_set=RULES.sets_with("generator"),
    threads: NEEDS.cores()
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("sampling"),
        runtime=NEEDS.minutes("sampling"),
    params:
        generator=RULES.of_set("generator"),
        images=RULES.of_set("images"),
        seed=RULES.of_set("seed"),
        options=RULES.sampling_options,
        store=subpath(output[0], strip_suffix=".done.json"),
        zoo=config["zoo"],
        identity=identity("samples"),
    shell:
        r"""
        python -m rosetta_steps.sampling --generator {params.generator:q} --zoo {params.zoo:q} \
            --images {params.images} --seed {params.seed} {params.options:q} \
            --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """


rule image_folder:
    """Images from files."""
    output:
        "results/samples/{sample_set}.zarr.done.json",
    log:
        "logs/image_folder/{sample_set}.log",
    benchmark:
        "benchmarks/image_folder/{sample_set}.tsv"
    wildcard_constraints:
        sample_set=RULES.sets_with("photos"),
    params:
        images=lambda w: RULES.photos(w.sample_set),
        size=RULES.of_set("size"),
        options=RULES.photo_options,
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
        sample_set=RULES.sets_with("pictures"),
    params:
        pictures=RULES.of_set("pictures"),
        size=RULES.of_set("size"),
        identity=identity("samples"),
        store=subpath(output[0], strip_suffix=".done.json"),
    shell:
        r"""
        python -m rosetta_steps.pictures --pictures {params.pictures:q} --size {params.size} \
            --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """
