"""Inversions: images through the generator, guided by matches (section 4.1), and Table 1.

INPUTS   results/samples/{targets}.zarr, best buddies and moments of the sample set `matches`
OUTPUTS  results/inversions/{inversion}/{arm}.zarr   latents, images, losses
         results/inversions/{inversion}/table.csv, results/inversions/table1.csv
"""

ARM_WITHOUT, ARM_WITH_ALL, EACH = "reconstruction", "all", "each"


def check_inversions():
    """Every inversion names sample sets, arms and models that exist."""
    for name, chosen in config["inversions"].items():
        for key in ("matches", "targets"):
            sample_set(chosen[key])
        if "generator" not in sample_set(chosen["matches"]):
            raise ValueError(
                f"inversion {name}: {chosen['matches']} is of photos, no generator's images: there "
                "is nothing to invert through."
            )
        models = others_of(chosen["matches"])
        for arm in inversion(name)["arms"]:
            if arm not in (ARM_WITHOUT, ARM_WITH_ALL, EACH, *models):
                raise ValueError(
                    f"inversion {name}: no arm '{arm}'. "
                    f"{suggestion(arm, [ARM_WITHOUT, EACH, ARM_WITH_ALL, *models])}"
                )
        networks = [name for name in inversion(name)["metrics"] if name != "lpips"]
        if inversion(name)["reconstruction"] == "perceptual":
            networks.append(inversion(name)["perceptual_network"])
        for network in networks:
            find_entry(network, config["zoo"])
    for table, name in config["tables"].items():
        inversion(name)


def inversion(name):
    """Settings of an inversion: its own, over those that all share."""
    if name not in config["inversions"]:
        known = list(config["inversions"])
        raise ValueError(f"no inversion '{name}' in config/config.yaml. {suggestion(name, known)}")
    return config["inversion"] | config["inversions"][name]


def settings_of(name):
    """What the optimisation of an inversion is told, as options of the step."""
    chosen = inversion(name)
    return [
        str(word)
        for key in config["inversion"]
        if key not in ("arms", "metrics")
        for word in (f"--{key.replace('_', '-')}", chosen[key])
    ]


def arms_of(name):
    """Arms of an inversion: what guides it."""
    arms = []
    for arm in inversion(name)["arms"]:
        arms += others_of(inversion(name)["matches"]) if arm == EACH else [arm]
    return arms


def guides(wildcards):
    """Models whose matches guide an arm."""
    matches = inversion(wildcards.inversion)["matches"]
    if wildcards.arm == ARM_WITHOUT:
        return []
    return others_of(matches) if wildcards.arm == ARM_WITH_ALL else [wildcards.arm]


def generator_of(wildcards):
    """The generator through which an inversion goes."""
    return first_of(inversion(wildcards.inversion)["matches"])


def buddies_of_guides(wildcards):
    """Best buddies of the generator with the models that guide."""
    matches = inversion(wildcards.inversion)["matches"]
    generator = generator_of(wildcards)
    return [f"results/best_buddies/{matches}/{generator}--{m}.csv" for m in guides(wildcards)]


def moments_of_guides(wildcards):
    """Manifests of the moments of the generator and of the models that guide."""
    matches = inversion(wildcards.inversion)["matches"]
    names = [generator_of(wildcards), *guides(wildcards)]
    return [f"results/moments/{matches}/{n}.zarr.done.json" for n in names] if names[1:] else []


def weights_for_inversion(wildcards):
    """Weights of generator, guides and perceptual network."""
    chosen = inversion(wildcards.inversion)
    names = {generator_of(wildcards), *guides(wildcards)}
    if chosen["reconstruction"] == "perceptual":
        names.add(chosen["perceptual_network"])
    return [f"results/weights/{name}.txt" for name in sorted(names)]


def entries_for_inversion(wildcards):
    """Digests of the entries of all networks that take part in an arm."""
    names = [file.split("/")[-1].removesuffix(".txt") for file in weights_for_inversion(wildcards)]
    return [entry_digest(find_entry(name, config["zoo"])) for name in names]


def class_options(wildcards):
    """The class that an inversion shows, as an option of the step."""
    chosen = inversion(wildcards.inversion)
    return ["--class", str(chosen["class"])] if "class" in chosen else []


def tabled(wildcards):
    """The inversion of which a table tells."""
    return inversion(config["tables"][wildcards.table])


def arms_of_table(wildcards):
    """Manifests of the arms of a table."""
    name = config["tables"][wildcards.table]
    return [f"results/inversions/{name}/{arm}.zarr.done.json" for arm in arms_of(name)]


def networks_of_metrics(wildcards):
    """Models of the zoo that measure a perceptual distance."""
    return [name for name in tabled(wildcards)["metrics"] if name != "lpips"]


try:
    check_inversions()
except ValueError as error:
    raise WorkflowError(str(error)) from None


rule invert:
    """One arm; a killed job goes on with the first block of images that is not on disk."""
    input:
        targets=lambda w: f"results/samples/{inversion(w.inversion)['targets']}.zarr.done.json",
        buddies=buddies_of_guides,
        moments=moments_of_guides,
        weights=weights_for_inversion,
    output:
        "results/inversions/{inversion}/{arm}.zarr.done.json",
    log:
        "logs/invert/{inversion}/{arm}.log",
    benchmark:
        "benchmarks/invert/{inversion}/{arm}.tsv"
    conda:
        ENVIRONMENT
    threads: cores_of_a_device()
    resources:
        gpu=1,
    params:
        generator=generator_of,
        models=guides,
        zoo=config["zoo"],
        entries=entries_for_inversion,
        settings=lambda w: settings_of(w.inversion),
        chosen_class=class_options,
        targets=subpath(input.targets, strip_suffix=".done.json"),
        moments=lambda w, input: stores(input.moments),
        store=subpath(output[0], strip_suffix=".done.json"),
        algorithm=algorithm("inversion.invert"),
    shell:
        r"""
        python -m rosetta_steps.inversion.invert --generator {params.generator:q} \
            --models {params.models:q} --zoo {params.zoo:q} --buddies {input.buddies:q} \
            --moments {params.moments:q} --targets {params.targets:q} {params.settings:q} \
            {params.chosen_class:q} --without-matches leave-empty --threads {threads} \
            --output {params.store:q} 2>&1 | tee {log:q}
        """


rule inversion_table:
    """Table 1: PSNR, SSIM and perceptual distance of every arm of an inversion."""
    input:
        targets=lambda w: f"results/samples/{tabled(w)['targets']}.zarr.done.json",
        arms=arms_of_table,
        weights=lambda w: [f"results/weights/{m}.txt" for m in networks_of_metrics(w)],
    output:
        report(
            "results/inversions/{table}.csv",
            caption="../report/table1.rst",
            category="inversions",
        ),
        "results/inversions/{table}-images.csv",
        "results/inversions/{table}-tests.csv",
    log:
        "logs/inversion_table/{table}.log",
    benchmark:
        "benchmarks/inversion_table/{table}.tsv"
    wildcard_constraints:
        table="|".join(config["tables"]) or "(?!)",
    conda:
        ENVIRONMENT
    params:
        zoo=config["zoo"],
        metrics=lambda w: tabled(w)["metrics"],
        entries=lambda w: [
            entry_digest(find_entry(m, config["zoo"])) for m in networks_of_metrics(w)
        ],
        size=lambda w: tabled(w)["perceptual_size"],
        targets=subpath(input.targets, strip_suffix=".done.json"),
        arms=lambda w, input: stores(input.arms),
        algorithm=algorithm("inversion.table"),
    shell:
        r"""
        python -m rosetta_steps.inversion.table --targets {params.targets:q} \
            --arms {params.arms:q} --zoo {params.zoo:q} --metrics {params.metrics:q} \
            --perceptual-size {params.size} --output {output[0]:q} 2>&1 | tee {log:q}
        """
