"""Edits: images changed through the maps of matched units (section 4.2), figures 8 and 9.

INPUTS   latents of a sample set or of an inversion; best buddies, moments and the dictionary
OUTPUTS  results/edits/{edit}.zarr, results/edits/{edit}.csv, results/figures/edits/{figure}.png
"""


rule edit:
    """One edit of some images, beside the direct edit of the units."""
    input:
        source=lambda w: f"{source_of_edit(w)}.done.json",
        table=lambda w: f"results/dictionary/{edit_of(w)['matches']}/rosetta.csv",
        buddies=files_of_edit("best_buddies"),
        manifests=manifests_of(files_of_edit("best_buddies")),
        manifest=lambda w: f"results/dictionary/{edit_of(w)['matches']}/rosetta.csv.done.json",
        moments=files_of_edit("moments"),
        weights=lambda w: f"results/weights/{first_of(edit_of(w)['matches'])}.txt",
        mask=lambda w: edit_of(w).get("mask", []),
    output:
        store="results/edits/{edit}.zarr.done.json",
        table="results/edits/{edit}.csv",
    log:
        "logs/edit/{edit}.log",
    benchmark:
        "benchmarks/edit/{edit}.tsv"
    conda:
        ENVIRONMENT
    threads: cores_of_devices()
    resources:
        gpu=1,
    params:
        generator=lambda w: first_of(edit_of(w)["matches"]),
        models=guides_of_edit,
        zoo=config["zoo"],
        options=edit_options,
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
        lambda w: [f"results/edits/{e}.zarr.done.json" for e in config["edit_figures"][w.figure]],
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
    conda:
        ENVIRONMENT
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
        [f"results/edits/{edit}.csv" for edit in of_this_sample_set("edits")],
        [
            f"results/figures/edits/{figure}.png"
            for figure, edits in config["edit_figures"].items()
            if set(edits) <= set(of_this_sample_set("edits"))
        ],
    localrule: True
