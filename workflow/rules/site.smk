"""Site: a dictionary as pages of concepts, units and models, without a server.

INPUTS   as the dictionary's page; besides, results/partners, results/coverage and the
         generator's correlations with itself
OUTPUTS  results/site/{sample_set}/, of which index.html is one file, on the target `site`
"""


rule site_folder:
    """All pages, pictures and data of a site."""
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
        partners=RULES.partners_of_everyone,
        partners_manifests=manifests_of(RULES.partners_of_everyone),
        correlations=RULES.correlations_of_itself,
        coverage="results/coverage/{sample_set}.csv",
        coverage_manifest="results/coverage/{sample_set}.csv.done.json",
        labels=RULES.labels_shown,
        labels_manifests=manifests_of(RULES.labels_shown),
    output:
        "results/site/{sample_set}/index.html",
    log:
        "logs/site_folder/{sample_set}.log",
    benchmark:
        "benchmarks/site_folder/{sample_set}.tsv"
    params:
        samples=subpath(input.samples, strip_suffix=".done.json"),
        maps=lambda w, input: braced(stores(input.maps)),
        moments=lambda w, input: braced(stores(input.moments)),
        evidence=lambda w, input: braced(input.evidence),
        partners=lambda w, input: braced(input.partners),
        correlations=subpath(input.correlations, strip_suffix=".done.json"),
        settings=RULES.settings_in_words(),
        identity=identity("site"),
    shell:
        r"""
        python -m rosetta_steps.site --table {input.table:q} --samples {params.samples:q} \
            --maps {params.maps} --moments {params.moments} --evidence {params.evidence} \
            --partners {params.partners} --correlations {params.correlations:q} \
            --coverage {input.coverage:q} --names {input.names:q} \
            --labels {input.labels:q} --settings {params.settings:q} --identity {params.identity} \
            --output {output:q} 2>&1 | tee {log:q}
        """


rule site:
    """The site of the default sample set."""
    input:
        RULES.site(),
    localrule: True
