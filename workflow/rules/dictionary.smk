"""Dictionary: Rosetta units (eq. 4), their clusters, and pages and figures to look at.

INPUTS   results/best_buddies/{sample_set}/{generator}--{model}.csv, {generator}--{generator}.csv
OUTPUTS  results/dictionary/{sample_set}/rosetta.csv, index.html, trust.html, figure2 and figure3 (png, pdf)
"""


rule concepts:
    """The dictionary as a table."""
    input:
        buddies=RULES.buddies_with(RULES.others_of),
        selves=RULES.buddies_of_itself,
        correlations=RULES.correlations_of_itself,
        manifests=manifests_of(RULES.buddies_with(RULES.everyone)),
    output:
        table=report(
            "results/dictionary/{sample_set}/rosetta.csv",
            caption="../report/table.rst",
            category="{sample_set}",
        ),
        manifest="results/dictionary/{sample_set}/rosetta.csv.done.json",
    log:
        "logs/concepts/{sample_set}.log",
    benchmark:
        "benchmarks/concepts/{sample_set}.tsv"
    params:
        generator=lambda w: RULES.first_of(w.sample_set),
        models=lambda w: RULES.others_of(w.sample_set),
        correlations=subpath(input.correlations, strip_suffix=".done.json"),
        method=config["clustering"]["method"],
        min_correlation=config["clustering"]["min_correlation"],
        identity=identity("concepts"),
    shell:
        r"""
        python -m rosetta_steps.concepts --generator {params.generator:q} \
            --models {params.models:q} --buddies {input.buddies:q} \
            --self-buddies {input.selves:q} --self-correlations {params.correlations:q} \
            --method {params.method} --min-correlation {params.min_correlation} \
            --identity {params.identity} --output {output.table:q} 2>&1 | tee {log:q}
        """


rule dictionary_page:
    """The dictionary as a page: concepts x models x example images."""
    input:
        table="results/dictionary/{sample_set}/rosetta.csv",
        manifest="results/dictionary/{sample_set}/rosetta.csv.done.json",
        samples="results/samples/{sample_set}.zarr.done.json",
        maps=RULES.of_everyone("matched_maps"),
        moments=RULES.of_everyone("moments"),
        evidence=RULES.evidence_of_everyone,
        evidence_manifests=manifests_of(RULES.evidence_of_everyone),
        names="results/evidence/{sample_set}/names.csv",
        names_manifest="results/evidence/{sample_set}/names.csv.done.json",
        untrained=RULES.untrained_of_everyone,
        untrained_manifests=manifests_of(RULES.untrained_of_everyone),
        labels=RULES.labels_shown,
        labels_manifests=manifests_of(RULES.labels_shown),
    output:
        page="results/dictionary/{sample_set}/index.html",
        trust="results/dictionary/{sample_set}/trust.html",
    log:
        "logs/dictionary_page/{sample_set}.log",
    benchmark:
        "benchmarks/dictionary_page/{sample_set}.tsv"
    params:
        samples=subpath(input.samples, strip_suffix=".done.json"),
        maps=lambda w, input: braced(stores(input.maps)),
        moments=lambda w, input: braced(stores(input.moments)),
        evidence=lambda w, input: braced(input.evidence),
        untrained=lambda w, input: braced(input.untrained),
        settings=RULES.settings_in_words(),
        identity=identity("page"),
    shell:
        r"""
        python -m rosetta_steps.dictionary --table {input.table:q} --samples {params.samples:q} \
            --maps {params.maps} --moments {params.moments} \
            --evidence {params.evidence} --names {input.names:q} \
            --untrained {params.untrained} --labels {input.labels:q} --settings {params.settings:q} \
            --identity {params.identity} --output {output.page:q} 2>&1 | tee {log:q}
        """


rule figures:
    """Figures 2 and 3 of the paper, for this dictionary."""
    input:
        table="results/dictionary/{sample_set}/rosetta.csv",
        manifest="results/dictionary/{sample_set}/rosetta.csv.done.json",
        samples="results/samples/{sample_set}.zarr.done.json",
        maps=RULES.of_everyone("matched_maps"),
        moments=RULES.of_everyone("moments"),
    output:
        report(
            "results/dictionary/{sample_set}/figure2.png",
            caption="../report/figure2.rst",
            category="{sample_set}",
        ),
        report(
            "results/dictionary/{sample_set}/figure3.png",
            caption="../report/figure3.rst",
            category="{sample_set}",
        ),
        "results/dictionary/{sample_set}/figure2.pdf",
        "results/dictionary/{sample_set}/figure3.pdf",
    log:
        "logs/figures/{sample_set}.log",
    benchmark:
        "benchmarks/figures/{sample_set}.tsv"
    params:
        samples=subpath(input.samples, strip_suffix=".done.json"),
        maps=lambda w, input: braced(stores(input.maps)),
        moments=lambda w, input: braced(stores(input.moments)),
        folder=subpath(output[0], parent=True),
        concepts=config["figures"]["concepts"],
        images=config["figures"]["images"],
        identity=identity("figures"),
    shell:
        r"""
        python -m rosetta_steps.figures --table {input.table:q} --samples {params.samples:q} \
            --maps {params.maps} --moments {params.moments} \
            --concepts {params.concepts} --images {params.images} \
            --identity {params.identity} --output-directory {params.folder:q} 2>&1 | tee {log:q}
        """
