"""What the rules of inversions share: arms, and what guides them."""

from types import SimpleNamespace

inversion, arms_of = (
    held(of, CHECKED.hold_inversion) for of in (RECIPES.inversion, RECIPES.arms_of)
)


def settings_of(name):
    """What the optimisation of an inversion is told, as options of the step."""
    chosen = inversion(name)
    return [
        str(word)
        for key in config["inversion"]
        if key not in ("arms", "metrics")
        for word in (f"--{key.replace('_', '-')}", chosen[key])
    ]


def guides(wildcards):
    """Models whose matches guide an arm."""
    return RECIPES.guides(wildcards.inversion, wildcards.arm)


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
    names = RECIPES.networks_of(wildcards.inversion, wildcards.arm)
    return [f"results/weights/{name}.txt" for name in names]


def class_options(wildcards):
    """The class that an inversion shows, as an option of the step."""
    chosen = inversion(wildcards.inversion)
    return ["--class", str(chosen["class"])] if "class" in chosen else []


def of_this_sample_set(kind):
    """Names of the inversions or edits of the config that the chosen sample set's matches guide."""
    return [
        name for name, chosen in config[kind].items() if chosen["matches"] == config["sample_set"]
    ]


def tabled(wildcards):
    """The inversion of which a table tells."""
    return inversion(config["tables"][wildcards.table])


def arms_of_table(wildcards):
    """Manifests of the arms of a table."""
    name = config["tables"][wildcards.table]
    return [f"results/inversions/{name}/{arm}.zarr.done.json" for arm in arms_of(name)]


def networks_of_metrics(wildcards):
    """Models of the zoo that measure a perceptual distance."""
    return RECIPES.networks_of_metrics(config["tables"][wildcards.table])


def of_all_matches(options):
    """What a function of the wildcards of an arm says of the arm that all models guide."""
    return lambda w: options(SimpleNamespace(inversion=w.inversion, arm=ARM_WITH_ALL))


def arms_manifests(wildcards):
    """Manifests of every arm of an inversion."""
    name = wildcards.inversion
    return [f"results/inversions/{name}/{arm}.zarr.done.json" for arm in arms_of(name)]


def pictures_of(name):
    """What there is to look at of an inversion, and of the dictionary that guides it."""
    dictionary = f"results/figures/{inversion(name)['matches']}/figure1.png"
    figures = RECIPES.figures_of(name)
    return [f"results/figures/{name}/{figure}" for figure in figures] + [dictionary]


def edit_of(wildcards):
    """Settings of an edit."""
    return config["edits"][wildcards.edit]


def source_of_edit(wildcards):
    """Store of the latents that are edited: of a sample set, or of an arm (inversion/arm)."""
    source = Path(edit_of(wildcards)["source"])
    folder = "inversions" if len(source.parts) > 1 else "samples"
    return f"results/{folder}/{source}.zarr"


def edit_options(wildcards):
    """What is edited and how, as options of the step."""
    options = []
    for key, value in edit_of(wildcards).items():
        if key not in ("matches", "source"):
            words = value if isinstance(value, list) else [value]
            options += [f"--{key.replace('_', '-')}", *map(str, words)]
    return options


def guides_of_edit(wildcards):
    """All models that were mined with the generator."""
    return others_of(edit_of(wildcards)["matches"])


def files_of_edit(kind):
    """Files of the generator with every guide, or of generator and guides."""

    def of(wildcards):
        matches = edit_of(wildcards)["matches"]
        generator, models = first_of(matches), guides_of_edit(wildcards)
        if kind == "best_buddies":
            return [f"results/best_buddies/{matches}/{generator}--{m}.csv" for m in models]
        return [f"results/moments/{matches}/{n}.zarr.done.json" for n in [generator, *models]]

    return of
