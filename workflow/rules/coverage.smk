"""Coverage: the nearest partner of every unit, and how much of each layer is shared.

INPUTS   results/correlations/{sample_set}/{a}--{b}.zarr and the evidence of their best buddies,
         the dictionary and sums over images
OUTPUTS  results/partners/{sample_set}/{a}--{b}.csv
         results/coverage/{sample_set}.csv, .png and .pdf, and results/firing/{sample_set}.csv,
         on the target `coverage`
"""


rule partners:
    """The nearest partner of every unit of two models."""
    input:
        correlations="results/correlations/{sample_set}/{a}--{b}.zarr.done.json",
        evidence="results/evidence/{sample_set}/{a}--{b}.csv",
        manifest="results/evidence/{sample_set}/{a}--{b}.csv.done.json",
    output:
        table="results/partners/{sample_set}/{a}--{b}.csv",
        manifest="results/partners/{sample_set}/{a}--{b}.csv.done.json",
    log:
        "logs/partners/{sample_set}/{a}--{b}.log",
    benchmark:
        "benchmarks/partners/{sample_set}/{a}--{b}.tsv"
    params:
        correlations=subpath(input.correlations, strip_suffix=".done.json"),
        neighbours=config["neighbours"],
        identity=identity("partners"),
    shell:
        r"""
        python -m rosetta_steps.partners --correlations {params.correlations:q} \
            --evidence {input.evidence:q} --neighbours {params.neighbours} \
            --identity {params.identity} --output {output.table:q} 2>&1 | tee {log:q}
        """


rule coverage_figure:
    """How much of each layer is shared, by depth."""
    input:
        partners=RULES.partners_of_everyone,
        manifests=manifests_of(RULES.partners_of_everyone),
    output:
        table="results/coverage/{sample_set}.csv",
        manifest="results/coverage/{sample_set}.csv.done.json",
        figure=report(
            "results/coverage/{sample_set}.png",
            caption="../report/coverage.rst",
            category="{sample_set}",
        ),
        pdf="results/coverage/{sample_set}.pdf",
    log:
        "logs/coverage_figure/{sample_set}.log",
    benchmark:
        "benchmarks/coverage_figure/{sample_set}.tsv"
    params:
        partners=lambda w, input: braced(input.partners),
        identity=identity("coverage"),
    shell:
        r"""
        python -m rosetta_steps.coverage --partners {params.partners} \
            --identity {params.identity} --output {output.table:q} 2>&1 | tee {log:q}
        """


rule firing:
    """Whether the models of a concept fire on the same images."""
    input:
        table="results/dictionary/{sample_set}/rosetta.csv",
        dictionary="results/dictionary/{sample_set}/rosetta.csv.done.json",
        sums=RULES.sums_of_everyone,
    output:
        table="results/firing/{sample_set}.csv",
        manifest="results/firing/{sample_set}.csv.done.json",
    log:
        "logs/firing/{sample_set}.log",
    benchmark:
        "benchmarks/firing/{sample_set}.tsv"
    params:
        sums=lambda w, input: braced(stores(input.sums)),
        identity=identity("firing"),
    shell:
        r"""
        python -m rosetta_steps.firing --table {input.table:q} --sums {params.sums} \
            --identity {params.identity} --output {output.table:q} 2>&1 | tee {log:q}
        """


rule coverage:
    """Coverage of the default sample set, and how its concepts fire."""
    input:
        RULES.coverage(),
    localrule: True
