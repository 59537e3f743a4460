"""Inversions: images through the generator, guided by matches (section 4.1), and Table 1.

INPUTS   results/samples/{targets}.zarr, best buddies and moments of the sample set `matches`
OUTPUTS  results/inversions/{inversion}/{arm}.zarr   latents, images, losses
         results/inversions/{table}.csv              Table 1, and every image and tests beside it
"""


rule invert:
    """One arm; a killed job goes on with the first block of images that is not on disk."""
    input:
        targets=lambda w: f"results/samples/{inversion(w.inversion)['targets']}.zarr.done.json",
        buddies=buddies_of_guides,
        manifests=manifests_of(buddies_of_guides),
        moments=moments_of_guides,
        weights=weights_for_inversion,
    output:
        "results/inversions/{inversion}/{arm}.zarr.done.json",
    log:
        "logs/invert/{inversion}/{arm}.log",
    benchmark:
        "benchmarks/invert/{inversion}/{arm}.tsv"
    conda:
        ENVIRONMENT
    threads: cores_of_devices()
    resources:
        gpu=1,
    params:
        generator=generator_of,
        models=guides,
        zoo=config["zoo"],
        settings=lambda w: settings_of(w.inversion),
        chosen_class=class_options,
        targets=subpath(input.targets, strip_suffix=".done.json"),
        moments=lambda w, input: stores(input.moments),
        store=subpath(output[0], strip_suffix=".done.json"),
        identity=identity("arm"),
    shell:
        r"""
        python -m rosetta_steps.inversion.invert --generator {params.generator:q} \
            --models {params.models:q} --zoo {params.zoo:q} --buddies {input.buddies:q} \
            --moments {params.moments:q} --targets {params.targets:q} {params.settings:q} \
            {params.chosen_class:q} --without-matches leave-empty --threads {threads} \
            --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """


rule inversion_table:
    """Table 1: PSNR, SSIM and perceptual distance of every arm of an inversion."""
    input:
        targets=lambda w: f"results/samples/{tabled(w)['targets']}.zarr.done.json",
        arms=arms_of_table,
        weights=lambda w: [f"results/weights/{m}.txt" for m in networks_of_metrics(w)],
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
        table="|".join(config["tables"]) or "(?!)",
    conda:
        ENVIRONMENT
    params:
        zoo=config["zoo"],
        metrics=lambda w: tabled(w)["metrics"],
        size=lambda w: tabled(w)["perceptual_size"],
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
