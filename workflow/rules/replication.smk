"""Replication: which best buddies of one sample set are best buddies on other images.

INPUTS   results/correlations, best_buddies, moments and image_sums of the mined sample set, of that
         which confirms it, and of one of the same distribution (`replications` of the config)
OUTPUTS  results/replication/{replication}/{a}--{b}.csv     a row a best buddy
         results/replication/{replication}.csv, .png, .pdf  survival by depth and share of places
"""


rule replicated_pairs:
    """The best buddies of two models on other images."""
    input:
        correlations=RULES.of_replication("correlations"),
        buddies=RULES.of_replication("best_buddies"),
        manifests=manifests_of(RULES.of_replication("best_buddies")),
        moments_a=RULES.moments_of_replication("a"),
        moments_b=RULES.moments_of_replication("b"),
        sums=RULES.of_replication("image_sums"),
    output:
        table="results/replication/{replication}/{a}--{b}.csv",
        manifest="results/replication/{replication}/{a}--{b}.csv.done.json",
    log:
        "logs/replicated_pairs/{replication}/{a}--{b}.log",
    benchmark:
        "benchmarks/replicated_pairs/{replication}/{a}--{b}.tsv"
    params:
        correlations=lambda w, input: stores(input.correlations),
        moments_a=lambda w, input: stores(input.moments_a),
        moments_b=lambda w, input: stores(input.moments_b),
        sums=lambda w, input: stores(input.sums),
        comparisons=RULES.comparisons_of,
        neighbours=config["neighbours"],
        resamples=config["evidence"]["resamples"],
        identity=identity("replicated_pairs"),
    shell:
        r"""
        python -m rosetta_steps.replicated_pairs --correlations {params.correlations:q} \
            --buddies {input.buddies:q} --moments-a {params.moments_a:q} \
            --moments-b {params.moments_b:q} --image-sums {params.sums:q} \
            --comparisons {params.comparisons:q} --neighbours {params.neighbours} \
            --resamples {params.resamples} --identity {params.identity} \
            --output {output.table:q} 2>&1 | tee {log:q}
        """


rule replication_summary:
    """Survival on other images by depth and by share of favourite places, and its figure."""
    input:
        pairs=RULES.replicated_pairs_of,
        manifests=manifests_of(RULES.replicated_pairs_of),
        sums=RULES.sums_of_replication,
    output:
        table="results/replication/{replication}.csv",
        manifest="results/replication/{replication}.csv.done.json",
        png=report(
            "results/replication/{replication}.png",
            caption="../report/replication.rst",
            category="replication",
        ),
        pdf="results/replication/{replication}.pdf",
    log:
        "logs/replication_summary/{replication}.log",
    benchmark:
        "benchmarks/replication_summary/{replication}.tsv"
    params:
        sums=lambda w, input: stores(input.sums),
        comparisons=RULES.comparisons_of,
        similarity=config["correlation"]["similarity"],
        resamples=config["evidence"]["resamples"],
        identity=identity("replication"),
    shell:
        r"""
        python -m rosetta_steps.replication --pairs {input.pairs:q} --image-sums {params.sums:q} \
            --comparisons {params.comparisons:q} --similarity {params.similarity} \
            --resamples {params.resamples} --identity {params.identity} \
            --output {output.table:q} 2>&1 | tee {log:q}
        """


rule replication:
    """Every replication of what is mined on the sample set."""
    input:
        RULES.all_replications,
    localrule: True
