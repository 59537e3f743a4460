"""Correlate: how alike do the units of two models respond? (eq. 2)

INPUTS   results/samples/{sample_set}.zarr, whose classes decoys keep
         results/activations/{sample_set}/{model}.zarr (or results/streams/{sample_set}/{model}.json)
         and results/moments/..., of both
OUTPUTS  results/correlations/{sample_set}/{a}--{b}.zarr   correlation (unit_a, unit_b) float32
         results/moments_taken/{sample_set}/{a}/{b}.zarr   with store: matched, moments of b

With store: matched a model runs once for its moments and its correlations with the first one.
"""


rule correlation:
    """Pearson correlation of each unit of model a with each unit of model b."""
    input:
        a=RULES.source_of("a"),
        b=RULES.source_of("b"),
        moments_a="results/moments/{sample_set}/{a}.zarr.done.json",
        moments_b="results/moments/{sample_set}/{b}.zarr.done.json",
        samples="results/samples/{sample_set}.zarr.done.json",
    output:
        "results/correlations/{sample_set}/{a}--{b}.zarr.done.json",
    log:
        "logs/correlation/{sample_set}/{a}--{b}.log",
    benchmark:
        "benchmarks/correlation/{sample_set}/{a}--{b}.tsv"
    threads: NEEDS.cores_beside("correlation")
    resources:  # no parameters, because the result does not depend on them
        gpu=NEEDS.gpus(0 if NEEDS.workers_apart else config["correlation"]["gpus"]),
        mem_mb=NEEDS.memory("correlation"),
        runtime=NEEDS.minutes("correlation"),
        worker_gpus=NEEDS.gpus(config["correlation"]["gpus"]),
        worker_gb=str(config["correlation"]["memory_gb"]),
        worker_gpu_gb=str(config["correlation"]["gpu_memory_gb"]),
        dask=config["correlation"].get("scheduler", "none"),
        slurm_jobs=config["correlation"].get("slurm_jobs", 2),
        workers_per_job=config["correlation"].get("workers_per_job", 1),
    params:
        a=lambda w, input: stores([input.a]),
        b=lambda w, input: stores([input.b]),
        moments_a=subpath(input.moments_a, strip_suffix=".done.json"),
        moments_b=RULES.moments_of_b,
        taken=RULES.moments_to_take,
        store=subpath(output[0], strip_suffix=".done.json"),
        images_per_strip=config["correlation"]["images_per_strip"],
        images_per_block=config["correlation"]["images_per_block"],
        threads_per_worker=config["correlation"]["threads_per_worker"],
        splits=config["correlation"]["splits"],
        decoys=lambda w: RULES.decoys(w.a, w.b),
        samples=subpath(input.samples, strip_suffix=".done.json"),
        nearest=lambda w: RULES.neighbours_kept(w.a, w.b),
        precision=config["correlation"]["precision"],
        similarity=config["correlation"]["similarity"],
        identity=identity("correlations"),
    shell:
        r"""
        python -m rosetta_steps.correlation --a {params.a:q} --moments-a {params.moments_a:q} \
            --b {params.b:q} --moments-b {params.moments_b:q} {params.taken} --threads {threads} \
            --images-per-strip {params.images_per_strip} \
            --images-per-block {params.images_per_block} \
            --threads-per-worker {params.threads_per_worker} --precision {params.precision} \
            --similarity {params.similarity} \
            --splits {params.splits} --nearest {params.nearest} --decoys {params.decoys} \
            --samples {params.samples:q} \
            --memory-gb {resources.worker_gb} --gpus {resources.worker_gpus} \
            --gpu-memory-gb {resources.worker_gpu_gb} --scheduler {resources.dask:q} \
            --slurm-jobs {resources.slurm_jobs} --workers-per-job {resources.workers_per_job} \
            --identity {params.identity} --output {params.store:q} 2>&1 | tee {log:q}
        """


use rule correlation as correlation_and_moments with:
    input:
        a=RULES.source_of("a"),
        b=RULES.source_of("b"),
        moments_a="results/moments/{sample_set}/{a}.zarr.done.json",
        samples="results/samples/{sample_set}.zarr.done.json",
    output:
        "results/correlations/{sample_set}/{a}--{b}.zarr.done.json",
        "results/moments_taken/{sample_set}/{a}/{b}.zarr.done.json",
    wildcard_constraints:
        sample_set=RULES.sets_that_store(MATCHED),


ruleorder: correlation_and_moments > correlation
