"""Evidence: what speaks for each match, test by test.

INPUTS   results/correlations, best_buddies, activations (or streams) of the generator, matched_maps
         of the model, moments and samples
OUTPUTS  results/covariances/{sample_set}/{model}.zarr
         results/image_sums/{sample_set}/{a}--{b}.zarr
         results/evidence/{sample_set}/{a}--{b}.csv, and units/{a}--{b}.csv
         results/permutations/{sample_set}/{a}--{b}.zarr and .png, on the target `permutations`
         results/parts/{sample_set}/{a}--{b}.zarr, on the target `all_parts`
         results/evidence/{sample_set}/names.csv
         results/untrained/{sample_set}/{a}--{b}.csv, with untrained: N
"""


rule image_sums:
    """Sums over each image of the maps of matched pairs, from one pass over them."""
    input:
        # Not the generator's matched maps, which every new model adds to.
        maps_a=RULES.source_of("a"),
        maps_b="results/matched_maps/{sample_set}/{b}.zarr.done.json",
        moments_a="results/moments/{sample_set}/{a}.zarr.done.json",
        moments_b="results/moments/{sample_set}/{b}.zarr.done.json",
        samples="results/samples/{sample_set}.zarr.done.json",
        table="results/best_buddies/{sample_set}/{a}--{b}.csv",
        manifest="results/best_buddies/{sample_set}/{a}--{b}.csv.done.json",
    output:
        "results/image_sums/{sample_set}/{a}--{b}.zarr.done.json",
    log:
        "logs/image_sums/{sample_set}/{a}--{b}.log",
    benchmark:
        "benchmarks/image_sums/{sample_set}/{a}--{b}.tsv"
    threads: NEEDS.cores_beside("image_sums")
    resources:
        gpu=lambda w: NEEDS.gpus(int(RULES.runs(w.sample_set))),
        mem_mb=NEEDS.memory("image_sums"),
        runtime=NEEDS.minutes("image_sums"),
    params:
        maps_a=lambda w, input: stores([input.maps_a]),
        maps_b=subpath(input.maps_b, strip_suffix=".done.json"),
        moments_a=subpath(input.moments_a, strip_suffix=".done.json"),
        moments_b=subpath(input.moments_b, strip_suffix=".done.json"),
        samples=subpath(input.samples, strip_suffix=".done.json"),
        store=subpath(output[0], strip_suffix=".done.json"),
        identity=identity("image_sums"),
    shell:
        r"""
        python -m rosetta_steps.image_sums --maps-a {params.maps_a:q} --maps-b {params.maps_b:q} \
            --moments-a {params.moments_a:q} --moments-b {params.moments_b:q} \
            --buddies {input.table:q} --samples {params.samples:q} --threads {threads} \
            --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """


rule covariances:
    """Covariances of the units of each layer of a model, at every size of comparison."""
    input:
        maps=RULES.source_of("model"),
        moments="results/moments/{sample_set}/{model}.zarr.done.json",
        compared_with=RULES.moments_of_the_first,
    output:
        "results/covariances/{sample_set}/{model}.zarr.done.json",
    log:
        "logs/covariances/{sample_set}/{model}.log",
    benchmark:
        "benchmarks/covariances/{sample_set}/{model}.tsv"
    threads: workflow.cores
    resources:
        gpu=lambda w: NEEDS.gpus(int(RULES.runs(w.sample_set))),
        mem_mb=NEEDS.memory("covariances"),
        runtime=NEEDS.minutes("covariances"),
    params:
        maps=lambda w, input: stores([input.maps]),
        moments=subpath(input.moments, strip_suffix=".done.json"),
        compared_with=subpath(input.compared_with, strip_suffix=".done.json"),
        store=subpath(output[0], strip_suffix=".done.json"),
        identity=identity("covariances"),
    shell:
        r"""
        python -m rosetta_steps.covariances --maps {params.maps:q} --moments {params.moments:q} \
            --compared-with {params.compared_with:q} --threads {threads} \
            --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """


rule evidence:
    """The evidence of every best buddy, and its verdict."""
    input:
        correlations="results/correlations/{sample_set}/{a}--{b}.zarr.done.json",
        moments_a="results/moments/{sample_set}/{a}.zarr.done.json",
        moments_b="results/moments/{sample_set}/{b}.zarr.done.json",
        sums="results/image_sums/{sample_set}/{a}--{b}.zarr.done.json",
        table="results/best_buddies/{sample_set}/{a}--{b}.csv",
        manifest="results/best_buddies/{sample_set}/{a}--{b}.csv.done.json",
        covariances=RULES.covariances_of_b,
        untrained=RULES.untrained_of_the_pair,
    output:
        table="results/evidence/{sample_set}/{a}--{b}.csv",
        manifest="results/evidence/{sample_set}/{a}--{b}.csv.done.json",
        units="results/evidence/{sample_set}/units/{a}--{b}.csv",
        units_manifest="results/evidence/{sample_set}/units/{a}--{b}.csv.done.json",
    log:
        "logs/evidence/{sample_set}/{a}--{b}.log",
    benchmark:
        "benchmarks/evidence/{sample_set}/{a}--{b}.tsv"
    threads: workflow.cores if config["evidence"]["spread"] else 1
    resources:
        mem_mb=NEEDS.memory("evidence"),
    params:
        correlations=subpath(input.correlations, strip_suffix=".done.json"),
        moments_a=subpath(input.moments_a, strip_suffix=".done.json"),
        moments_b=subpath(input.moments_b, strip_suffix=".done.json"),
        sums=subpath(input.sums, strip_suffix=".done.json"),
        untrained=lambda w, input: stores(input.untrained),
        neighbours=config["neighbours"],
        level=config["evidence"]["level"],
        resamples=config["evidence"]["resamples"],
        covariances=lambda w, input: words_of({"--covariances": stores(input.covariances)}),
        identity=identity("evidence"),
    shell:
        r"""
        python -m rosetta_steps.evidence --correlations {params.correlations:q} \
            --buddies {input.table:q} --moments-a {params.moments_a:q} \
            --moments-b {params.moments_b:q} --image-sums {params.sums:q} \
            --untrained {params.untrained:q} \
            --neighbours {params.neighbours} --level {params.level} \
            --resamples {params.resamples} {params.covariances:q} --identity {params.identity} \
            --output {output.table:q} 2>&1 | tee {log:q}
        """


rule permute:
    """How far units agree beyond what permuted images would give: z of all pairs of units."""
    input:
        a=RULES.source_of("a"),
        b=RULES.source_of("b"),
        samples="results/samples/{sample_set}.zarr.done.json",
        table="results/best_buddies/{sample_set}/{a}--{b}.csv",
        manifest="results/best_buddies/{sample_set}/{a}--{b}.csv.done.json",
    output:
        store="results/permutations/{sample_set}/{a}--{b}.zarr.done.json",
        png=report(
            "results/permutations/{sample_set}/{a}--{b}.png",
            caption="../report/permutations.rst",
            category="{sample_set}",
        ),
        pdf="results/permutations/{sample_set}/{a}--{b}.pdf",
    log:
        "logs/permute/{sample_set}/{a}--{b}.log",
    benchmark:
        "benchmarks/permute/{sample_set}/{a}--{b}.tsv"
    threads: workflow.cores
    resources:
        gpu=lambda w: NEEDS.gpus(int(RULES.runs(w.sample_set))),
        mem_mb=NEEDS.memory("permutations"),
        runtime=NEEDS.minutes("permutations"),
    params:
        a=lambda w, input: stores([input.a]),
        b=lambda w, input: stores([input.b]),
        samples=subpath(input.samples, strip_suffix=".done.json"),
        store=subpath(output.store, strip_suffix=".done.json"),
        level=config["evidence"]["level"],
        images_per_block=config["correlation"]["images_per_block"],
        identity=identity("permutations"),
    shell:
        r"""
        python -m rosetta_steps.permute --a {params.a:q} --b {params.b:q} \
            --buddies {input.table:q} --samples {params.samples:q} --level {params.level} \
            --images-per-block {params.images_per_block} --threads {threads} \
            --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """


rule permutations:
    """Histograms of z of the generator's units with those of each model of the sample set."""
    input:
        RULES.all_permutations(),
    localrule: True


rule parts:
    """The parts of every correlation, and what is left without favourite places."""
    input:
        a=RULES.source_of("a"),
        b=RULES.source_of("b"),
        correlations="results/correlations/{sample_set}/{a}--{b}.zarr.done.json",
        moments_a="results/moments/{sample_set}/{a}.zarr.done.json",
        moments_b="results/moments/{sample_set}/{b}.zarr.done.json",
    output:
        "results/parts/{sample_set}/{a}--{b}.zarr.done.json",
    log:
        "logs/parts/{sample_set}/{a}--{b}.log",
    benchmark:
        "benchmarks/parts/{sample_set}/{a}--{b}.tsv"
    threads: workflow.cores
    resources:
        gpu=lambda w: NEEDS.gpus(int(RULES.runs(w.sample_set))),
        mem_mb=NEEDS.memory("parts"),
        runtime=NEEDS.minutes("parts"),
    params:
        a=lambda w, input: stores([input.a]),
        b=lambda w, input: stores([input.b]),
        correlations=subpath(input.correlations, strip_suffix=".done.json"),
        moments_a=subpath(input.moments_a, strip_suffix=".done.json"),
        moments_b=subpath(input.moments_b, strip_suffix=".done.json"),
        store=subpath(output[0], strip_suffix=".done.json"),
        identity=identity("parts"),
    shell:
        r"""
        python -m rosetta_steps.parts --correlations {params.correlations:q} \
            --maps-a {params.a:q} --maps-b {params.b:q} --moments-a {params.moments_a:q} \
            --moments-b {params.moments_b:q} --threads {threads} --identity {params.identity} \
            --output {params.store:q} 2>&1 | tee {log:q}
        """


rule all_parts:
    """The parts of every pair of units of the generator and each model of the sample set."""
    input:
        RULES.all_parts,
    localrule: True


rule untrained:
    """Best buddies with a model beside those with its untrained copies, by count and by rank."""
    input:
        correlations="results/correlations/{sample_set}/{a}--{b}.zarr.done.json",
        untrained=RULES.untrained_of_the_pair,
    output:
        table="results/untrained/{sample_set}/{a}--{b}.csv",
        manifest="results/untrained/{sample_set}/{a}--{b}.csv.done.json",
    log:
        "logs/untrained/{sample_set}/{a}--{b}.log",
    benchmark:
        "benchmarks/untrained/{sample_set}/{a}--{b}.tsv"
    wildcard_constraints:
        sample_set=RULES.sets_with("untrained"),
    params:
        correlations=subpath(input.correlations, strip_suffix=".done.json"),
        untrained=lambda w, input: stores(input.untrained),
        neighbours=config["neighbours"],
        identity=identity("untrained"),
    shell:
        r"""
        python -m rosetta_steps.untrained --correlations {params.correlations:q} \
            --untrained {params.untrained:q} --neighbours {params.neighbours} \
            --identity {params.identity} --output {output.table:q} 2>&1 | tee {log:q}
        """


rule names:
    """Plain names of units in best buddies that low-level features explain."""
    input:
        RULES.sums_of_everyone,
    output:
        table="results/evidence/{sample_set}/names.csv",
        manifest="results/evidence/{sample_set}/names.csv.done.json",
    log:
        "logs/names/{sample_set}.log",
    benchmark:
        "benchmarks/names/{sample_set}.tsv"
    params:
        sums=lambda w, input: stores(input),
        identity=identity("names"),
    shell:
        r"""
        python -m rosetta_steps.names --image-sums {params.sums:q} \
            --identity {params.identity} --output {output.table:q} 2>&1 | tee {log:q}
        """
