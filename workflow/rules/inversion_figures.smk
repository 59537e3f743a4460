"""Figures of section 4, after figures 1 and 4 to 7 of the paper; loss curves and animations.

INPUTS   the dictionary of a sample set; targets and arms of an inversion, and what guided them
OUTPUTS  results/visualisations/{sample_set}.zarr, results/figures/{sample_set}/figure1 (png, pdf)
         results/figures/{inversion}/figure4, figure5, figure7, loss (png, pdf), animation.webp
"""


rule visualise:
    """Figure 1: images optimised for one pair of each concept, beside real examples."""
    input:
        table="results/dictionary/{sample_set}/rosetta.csv",
        manifest="results/dictionary/{sample_set}/rosetta.csv.done.json",
        samples="results/samples/{sample_set}.zarr.done.json",
        maps=RULES.of_everyone("matched_maps"),
        moments=RULES.of_everyone("moments"),
    output:
        store="results/visualisations/{sample_set}.zarr.done.json",
        png=report(
            "results/figures/{sample_set}/figure1.png",
            caption="../report/figure1.rst",
            category="{sample_set}",
        ),
        pdf="results/figures/{sample_set}/figure1.pdf",
    log:
        "logs/visualise/{sample_set}.log",
    benchmark:
        "benchmarks/visualise/{sample_set}.tsv"
    threads: NEEDS.cores()
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("inversion"),
        runtime=NEEDS.minutes("inversion"),
    params:
        samples=subpath(input.samples, strip_suffix=".done.json"),
        maps=lambda w, input: stores(input.maps),
        moments=lambda w, input: stores(input.moments),
        zoo=config["zoo"],
        settings=RULES.visualise_options(),
        store=subpath(output.store, strip_suffix=".done.json"),
        identity=identity("visualisations"),
    shell:
        r"""
        python -m rosetta_steps.inversion.visualise --table {input.table:q} \
            --samples {params.samples:q} --maps {params.maps:q} \
            --moments {params.moments:q} --zoo {params.zoo:q} {params.settings:q} \
            --threads {threads} --identity {params.identity} \
            --output {params.store:q} --figure {output.png:q} \
            2>&1 | tee {log:q}
        """


rule figure_of_arms:
    """Figure 7: targets, and every arm of an inversion side by side."""
    input:
        targets=RULES.targets_of,
        arms=RULES.arms_manifests,
    output:
        png=report(
            "results/figures/{inversion}/figure7.png",
            caption="../report/figure7.rst",
            category="inversions",
        ),
        pdf="results/figures/{inversion}/figure7.pdf",
    log:
        "logs/figure_of_arms/{inversion}.log",
    benchmark:
        "benchmarks/figure_of_arms/{inversion}.tsv"
    params:
        targets=subpath(input.targets, strip_suffix=".done.json"),
        arms=lambda w, input: stores(input.arms),
        identity=identity("figure7"),
    shell:
        r"""
        python -m rosetta_steps.inversion.figures.paper --kind comparison \
            --targets {params.targets:q} \
            --arms {params.arms:q} --identity {params.identity} \
            --output {output.png:q} 2>&1 | tee {log:q}
        """


rule loss_curves:
    """Loss curves of every arm."""
    input:
        arms=RULES.arms_manifests,
    output:
        png=report(
            "results/figures/{inversion}/loss.png",
            caption="../report/loss.rst",
            category="inversions",
        ),
        pdf="results/figures/{inversion}/loss.pdf",
    log:
        "logs/loss_curves/{inversion}.log",
    benchmark:
        "benchmarks/loss_curves/{inversion}.tsv"
    params:
        arms=lambda w, input: stores(input.arms),
        identity=identity("loss"),
    shell:
        r"""
        python -m rosetta_steps.inversion.figures.loss_curves --arms {params.arms:q} \
            --identity {params.identity} --output {output.png:q} 2>&1 | tee {log:q}
        """


rule figure_of_maps:
    """Figure 4 (guidance) or figure 5 and 6 (translation) of the arm that all models guide."""
    input:
        targets=RULES.targets_of,
        arm="results/inversions/{inversion}/all.zarr.done.json",
        buddies=RULES.buddies_of_guides,
        manifests=manifests_of(RULES.buddies_of_guides),
        moments=RULES.moments_of_guides,
        weights=RULES.weights_of_guides,
    output:
        png=report(
            "results/figures/{inversion}/{figure}.png",
            caption="../report/{figure}.rst",
            category="inversions",
        ),
        pdf="results/figures/{inversion}/{figure}.pdf",
    log:
        "logs/figure_of_maps/{inversion}/{figure}.log",
    benchmark:
        "benchmarks/figure_of_maps/{inversion}/{figure}.tsv"
    wildcard_constraints:
        figure="figure4|figure5|figure6",
    threads: NEEDS.cores()
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("inversion"),
        runtime=NEEDS.minutes("inversion"),
    params:
        kind=lambda w: "guidance" if w.figure == "figure4" else "translation",
        models=RULES.guides_of,
        zoo=config["zoo"],
        neighbours=RULES.of_inversion("neighbours"),
        min_correlation=RULES.of_inversion("min_correlation"),
        targets=subpath(input.targets, strip_suffix=".done.json"),
        arm=subpath(input.arm, strip_suffix=".done.json"),
        moments=lambda w, input: stores(input.moments),
        identity=RULES.figure_identity,
    shell:
        r"""
        python -m rosetta_steps.inversion.figures.paper --kind {params.kind} \
            --targets {params.targets:q} \
            --arms {params.arm:q} --models {params.models:q} --zoo {params.zoo:q} \
            --buddies {input.buddies:q} --moments {params.moments:q} \
            --neighbours {params.neighbours} --min-correlation {params.min_correlation} \
            --threads {threads} --identity {params.identity} \
            --output {output.png:q} 2>&1 | tee {log:q}
        """


rule animation:
    """The optimisation of some images, as an animation."""
    input:
        arm="results/inversions/{inversion}/all.zarr.done.json",
        targets=RULES.targets_of,
        weights=RULES.weights_of_its_way,
    output:
        report(
            "results/figures/{inversion}/animation.webp",
            caption="../report/animation.rst",
            category="inversions",
        ),
    log:
        "logs/animation/{inversion}.log",
    benchmark:
        "benchmarks/animation/{inversion}.tsv"
    threads: NEEDS.cores()
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("inversion"),
        runtime=NEEDS.minutes("inversion"),
    params:
        arm=subpath(input.arm, strip_suffix=".done.json"),
        targets=subpath(input.targets, strip_suffix=".done.json"),
        zoo=config["zoo"],
        identity=identity("animation"),
    shell:
        r"""
        python -m rosetta_steps.inversion.figures.animation --inversion {params.arm:q} \
            --targets {params.targets:q} --zoo {params.zoo:q} \
            --identity {params.identity} --output {output:q} 2>&1 | tee {log:q}
        """


rule inversions:
    """Tables, figures and animations of every inversion that the sample set's matches guide."""
    input:
        RULES.all_inversions,
    localrule: True
