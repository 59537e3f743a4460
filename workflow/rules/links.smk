"""Links: what two generators have in common, through the models that were mined with both.

INPUTS   of both sample sets what their dictionaries' pages take, and results/correlations
OUTPUTS  results/links/{first}/{second}/, of which index.html is one file
"""


rule links:
    """Tables, figure and page of the links between units of two generators."""
    input:
        tables=RULES.of_both(RULES.rosetta),
        table_manifests=manifests_of(RULES.of_both(RULES.rosetta)),
        samples=RULES.of_both(RULES.samples),
        maps=RULES.of_both(RULES.of_everyone("matched_maps")),
        moments=RULES.of_both(RULES.of_everyone("moments")),
        correlations=RULES.of_both(RULES.correlations_with_everyone),
        evidence=RULES.of_both(RULES.evidence_of_everyone),
        evidence_manifests=manifests_of(RULES.of_both(RULES.evidence_of_everyone)),
    output:
        "results/links/{first}/{second}/index.html",
    log:
        "logs/links/{first}/{second}.log",
    benchmark:
        "benchmarks/links/{first}/{second}.tsv"
    params:
        samples=lambda w, input: braced(stores(input.samples)),
        maps=lambda w, input: braced(stores(input.maps)),
        moments=lambda w, input: braced(stores(input.moments)),
        correlations=lambda w, input: braced(stores(input.correlations)),
        evidence=lambda w, input: braced(input.evidence),
        level=config["evidence"]["level"],
        identity=identity("links"),
    shell:
        r"""
        python -m rosetta_steps.links --tables {input.tables:q} --samples {params.samples} \
            --maps {params.maps} --moments {params.moments} --evidence {params.evidence} \
            --correlations {params.correlations} --level {params.level} \
            --identity {params.identity} --output {output:q} 2>&1 | tee {log:q}
        """
