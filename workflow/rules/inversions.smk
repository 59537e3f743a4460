"""Inversions: images through the generator, guided by matches (section 4.1), and Table 1.

INPUTS   results/samples/{targets}.zarr, best buddies and moments of the sample set `matches`
OUTPUTS  results/inversions/{inversion}/{arm}.zarr   latents, images, losses
         results/inversions/{table}.csv              Table 1, and every image and tests beside it
"""


rule invert:
    """One arm; a killed job goes on with the first block of images that is not on disk."""
    input:
        targets=RULES.targets_of,
        buddies=RULES.buddies_of_guides,
        manifests=manifests_of(RULES.buddies_of_guides),
        moments=RULES.moments_of_guides,
        weights=RULES.weights_of_guides,
    output:
        "results/inversions/{inversion}/{arm}.zarr.done.json",
    log:
        "logs/invert/{inversion}/{arm}.log",
    benchmark:
        "benchmarks/invert/{inversion}/{arm}.tsv"
    threads: NEEDS.cores()
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("inversion"),
        runtime=NEEDS.minutes("inversion"),
    params:
        generator=RULES.generator_of,
        models=RULES.guides_of,
        zoo=config["zoo"],
        settings=RULES.inversion_options,
        targets=subpath(input.targets, strip_suffix=".done.json"),
        moments=lambda w, input: stores(input.moments),
        store=subpath(output[0], strip_suffix=".done.json"),
        identity=identity("arm"),
    shell:
        r"""
        python -m rosetta_steps.inversion.invert --generator {params.generator:q} \
            --models {params.models:q} --zoo {params.zoo:q} --buddies {input.buddies:q} \
            --moments {params.moments:q} --targets {params.targets:q} {params.settings:q} \
            --without-matches leave-empty --threads {threads} --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """


rule inversion_table:
    """Table 1: PSNR, SSIM and perceptual distance of every arm of an inversion."""
    input:
        targets=RULES.targets_of,
        arms=RULES.arms_manifests,
        weights=RULES.weights_of_metrics,
    output:
        table=report(
            "results/inversions/{table}.csv",
            caption="../report/table1.rst",
            category="inversions",
        ),
        manifest="results/inversions/{table}.csv.done.json",
        images="results/inversions/{table}-images.csv",
        tests="results/inversions/{table}-tests.csv",
    log:
        "logs/inversion_table/{table}.log",
    benchmark:
        "benchmarks/inversion_table/{table}.tsv"
    wildcard_constraints:
        table=names(config["tables"]),
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("inversion_table"),
        runtime=NEEDS.minutes("inversion_table"),
    params:
        zoo=config["zoo"],
        metrics=RULES.of_tabled("metrics"),
        size=RULES.of_tabled("perceptual_size"),
        targets=subpath(input.targets, strip_suffix=".done.json"),
        arms=lambda w, input: stores(input.arms),
        identity=identity("table"),
    shell:
        r"""
        python -m rosetta_steps.inversion.table --targets {params.targets:q} \
            --arms {params.arms:q} --zoo {params.zoo:q} --metrics {params.metrics:q} \
            --perceptual-size {params.size} --identity {params.identity} \
            --output {output.table:q} 2>&1 | tee {log:q}
        """
