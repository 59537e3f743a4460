"""Labels: a word for a unit where one holds, with its score.

INPUTS   results/samples/{sample_set}.zarr, and a CSV of one's own (labels of the sample set), or a
         vocabulary and a model of the loader open_clip (labels of the config)
OUTPUTS  results/label_scores/{sample_set}/csv.zarr, open_clip.zarr   score (image, label)
         results/labels/{sample_set}.csv, on the target `labels`; a row a unit of the dictionary
"""


rule own_scores:
    """Labels of one's own on every image."""
    input:
        samples="results/samples/{sample_set}.zarr.done.json",
    output:
        "results/label_scores/{sample_set}/csv.zarr.done.json",
    log:
        "logs/own_scores/{sample_set}.log",
    benchmark:
        "benchmarks/own_scores/{sample_set}.tsv"
    wildcard_constraints:
        sample_set=RULES.sets_with("labels"),
    params:
        samples=subpath(input.samples, strip_suffix=".done.json"),
        labels=RULES.of_set("labels"),
        store=subpath(output[0], strip_suffix=".done.json"),
        identity=identity("own_scores"),
    shell:
        r"""
        python -m rosetta_steps.labelling.own_scores --samples {params.samples:q} \
            --labels {params.labels:q} --identity {params.identity} \
            --output {params.store:q} 2>&1 | tee {log:q}
        """


rule word_scores:
    """Words of a vocabulary on every image."""
    input:
        samples="results/samples/{sample_set}.zarr.done.json",
        weights=RULES.model_of_words(),
    output:
        "results/label_scores/{sample_set}/open_clip.zarr.done.json",
    log:
        "logs/word_scores/{sample_set}.log",
    benchmark:
        "benchmarks/word_scores/{sample_set}.tsv"
    threads: NEEDS.cores()
    resources:
        gpu=NEEDS.gpus(),
        mem_mb=NEEDS.memory("word_scores"),
        runtime=NEEDS.minutes("word_scores"),
    params:
        samples=subpath(input.samples, strip_suffix=".done.json"),
        vocabulary=lambda w: config["labels"]["vocabulary"],
        model=lambda w: config["labels"]["model"],
        template=config["labels"]["template"],
        zoo=config["zoo"],
        store=subpath(output[0], strip_suffix=".done.json"),
        identity=identity("word_scores"),
    shell:
        r"""
        python -m rosetta_steps.labelling.word_scores --samples {params.samples:q} \
            --vocabulary {params.vocabulary:q} --model {params.model:q} --zoo {params.zoo:q} \
            --template {params.template:q} --identity {params.identity} \
            --output {params.store:q} 2>&1 | tee {log:q}
        """


rule labels_of_units:
    """The best label of every unit of a dictionary, and whether it stands."""
    input:
        table="results/dictionary/{sample_set}/rosetta.csv",
        manifest="results/dictionary/{sample_set}/rosetta.csv.done.json",
        samples="results/samples/{sample_set}.zarr.done.json",
        maps=RULES.of_everyone("matched_maps"),
        scores=RULES.scores_of_labels,
    output:
        table="results/labels/{sample_set}.csv",
        manifest="results/labels/{sample_set}.csv.done.json",
    log:
        "logs/labels_of_units/{sample_set}.log",
    benchmark:
        "benchmarks/labels_of_units/{sample_set}.tsv"
    params:
        samples=subpath(input.samples, strip_suffix=".done.json"),
        maps=lambda w, input: braced(stores(input.maps)),
        scores=lambda w, input: braced(stores(input.scores)),
        level=config["labels"]["level"],
        min_score=config["labels"]["min_score"],
        permutations=config["labels"]["permutations"],
        identity=identity("labels"),
    shell:
        r"""
        python -m rosetta_steps.labels --table {input.table:q} --samples {params.samples:q} \
            --maps {params.maps} --scores {params.scores} --level {params.level} \
            --min-score {params.min_score} --permutations {params.permutations} \
            --identity {params.identity} --output {output.table:q} 2>&1 | tee {log:q}
        """


rule labels:
    """The labels of the default sample set."""
    input:
        RULES.labels(),
    localrule: True
