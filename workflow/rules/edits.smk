"""Edits: images changed through the maps of matched units (section 4.2), figures 8 and 9.

INPUTS   latents of a sample set or of an inversion; best buddies, moments and the dictionary
OUTPUTS  results/edits/{edit}.zarr, results/edits/{edit}.csv, results/figures/edits/{figure}.png
"""


rule edit:
    """One edit of some images, beside the direct edit of the units."""
    input:
        source=RULES.source_of_edit,
        table=RULES.dictionary_of_edit,
        buddies=RULES.buddies_of_edit,
        manifests=manifests_of(RULES.buddies_of_edit),
        manifest=lambda w: f"{RULES.dictionary_of_edit(w)}.done.json",
        moments=RULES.moments_of_edit,
        weights=RULES.weights_of_edit,
        mask=lambda w: RULES.edited(w).get("mask", []),
    output:
        store="results/edits/{edit}.zarr.done.json",
        table="results/edits/{edit}.csv",
    log:
        "logs/edit/{edit}.log",
    benchmark:
        "benchmarks/edit/{edit}.tsv"
    threads: NEEDS.cores()
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("inversion"),
        runtime=NEEDS.minutes("inversion"),
    params:
        generator=RULES.generator_of_edit,
        models=RULES.guides_of_edit,
        zoo=config["zoo"],
        options=RULES.edit_options,
        source=subpath(input.source, strip_suffix=".done.json"),
        moments=lambda w, input: stores(input.moments),
        store=subpath(output.store, strip_suffix=".done.json"),
        identity=identity("edit"),
    shell:
        r"""
        python -m rosetta_steps.editing.edit --generator {params.generator:q} \
            --models {params.models:q} --zoo {params.zoo:q} --buddies {input.buddies:q} \
            --moments {params.moments:q} --table {input.table:q} --source {params.source:q} \
            {params.options:q} --threads {threads} --identity {params.identity} \
            --output {params.store:q} 2>&1 | tee {log:q}
        """


rule edit_figure:
    """Before, a unit's map, the edited one, what was reached, after, and the direct edit."""
    input:
        RULES.edits_of_figure,
    output:
        png=report(
            "results/figures/edits/{figure}.png",
            caption="../report/edits.rst",
            category="edits",
        ),
        pdf="results/figures/edits/{figure}.pdf",
    log:
        "logs/edit_figure/{figure}.log",
    benchmark:
        "benchmarks/edit_figure/{figure}.tsv"
    params:
        edits=lambda w, input: stores(input),
        identity=identity("edit_figure"),
    shell:
        r"""
        python -m rosetta_steps.editing.figure --edits {params.edits:q} \
            --identity {params.identity} --output {output.png:q} 2>&1 | tee {log:q}
        """


rule edits:
    """Every edit that the sample set's matches guide, and the figures of them."""
    input:
        RULES.all_edits,
    localrule: True
