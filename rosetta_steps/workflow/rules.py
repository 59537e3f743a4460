"""What rules take: their inputs and parameters, as functions of their wildcards.

A rule in workflow/rules says `input: buddies=RULES.buddies_of`; what that is stands here, where it
is typed and tested. Functions take the wildcards of a rule, and its input where they need it.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rosetta_steps.config.names import UNTRAINED, split_untrained
from rosetta_steps.matching.settings import METHODS
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.workflow.checking import Checked
from rosetta_steps.workflow.chosen import ARM_WITH_ALL, MINED_BY
from rosetta_steps.workflow.examples import examples_of
from rosetta_steps.workflow.recipes import MANIFEST, VISUALISED, Recipes, file_of
from rosetta_steps.zoo.entries import find_entry, layer_patterns

Wildcards = Any  # Snakemake's: attributes and items, by the name of the wildcard
Files = list[str]


def stores(manifests: Iterable) -> Files:
    """The stores, or tables, beside manifests."""
    return [str(manifest).removesuffix(MANIFEST) for manifest in manifests]


def manifests_of(tables: Callable[[Wildcards], Files]) -> Callable[[Wildcards], Files]:
    """Manifests of the tables that an input function gives."""
    return lambda wildcards: [f"{table}{MANIFEST}" for table in tables(wildcards)]


def words_of(options: dict[str, Sequence]) -> list[str]:
    """Options as words of a command line; those without values are left out."""
    return [str(word) for key, values in options.items() if len(values) for word in (key, *values)]


# A wildcard constraint: a model that is no untrained copy, which is never dumped.
DUMPED = rf"(?!.*{re.escape(UNTRAINED)}\d+)[^/]+?"


def names(chosen: Iterable[str]) -> str:
    """A wildcard constraint: some names, or none at all."""
    return "|".join(map(re.escape, chosen)) or "(?!)"


class Rules(Recipes):
    """What the rules of a checked config take.

    Args:
        config: As Snakemake has read it, settled and checked.
        checked: The same; what is asked for is held against the zoo when it is first needed.
    """

    def __init__(self, config: dict, checked: Checked):
        super().__init__(config)
        self.checked = checked

    def sample_set(self, name: str) -> dict:
        """Settings of a sample set, held against the zoo.

        Raises:
            ValueError: There is none of this name, or it does not fit the zoo.
        """
        chosen = super().sample_set(name)
        self.checked.hold_sample_set(name)
        return chosen

    def inversion(self, name: str) -> dict:
        """Settings of an inversion, held against the zoo.

        Raises:
            ValueError: There is none of this name, or it does not fit the zoo.
        """
        chosen = super().inversion(name)
        self.checked.hold_inversion(name)
        return chosen

    # --- sample sets ------------------------------------------------------------------------------

    def sets_with(self, key: str) -> str:
        """A wildcard constraint: sample sets that have some key, with a value other than 0."""
        return names(name for name, one in self.config["sample_sets"].items() if one.get(key))

    def sets_that_store(self, stored: str) -> str:
        """A wildcard constraint: sample sets whose maps are stored so: all, or matched."""
        return names(name for name in self.config["sample_sets"] if self.store_of(name) == stored)

    def sets_that_stream(self) -> str:
        """A wildcard constraint: sample sets of which some model runs where it is needed."""
        sets = self.config["sample_sets"]
        return names(n for n in sets if self.runs(n) or sets[n].get("untrained"))

    def of_set(self, key: str) -> Callable[[Wildcards], Any]:
        """A setting of the sample set of a rule."""
        return lambda wildcards: self.sample_set(wildcards.sample_set)[key]

    def weights_of_the_set(self, wildcards: Wildcards) -> Files:
        """Weights of generator and models of a sample set."""
        return weights(self.everyone(wildcards.sample_set))

    def weights_of_its_generator(self, wildcards: Wildcards) -> Files:
        """Weights of the generator that makes a sample set."""
        return weights([self.sample_set(wildcards.sample_set)["generator"]])

    def sampling_options(self, wildcards: Wildcards) -> list[str]:
        """Truncation, classes and bound of the latents of a sample set, as options of the step."""
        chosen = self.sample_set(wildcards.sample_set)
        classes = chosen.get("class", [])
        return words_of(
            {
                "--truncation": [chosen.get("truncation", 1.0)],
                "--latent-bound": [chosen["latent_bound"]] if "latent_bound" in chosen else [],
                "--classes": classes if isinstance(classes, list) else [classes],
            }
        )

    def photo_options(self, wildcards: Wildcards) -> list[str]:
        """How many photos are taken and what is done with unreadable ones, as options."""
        chosen = self.sample_set(wildcards.sample_set)
        options = {"images": "--limit", "images_per_class": "--per-class"}
        options |= {"unreadable": "--unreadable"}
        return words_of({option: [chosen[k]] for k, option in options.items() if k in chosen})

    def layer_options(self, wildcards: Wildcards) -> list[str]:
        """Layers of a sample set, as options of a step."""
        layers = self.sample_set(wildcards.sample_set)["layers"]
        return words_of(
            {"--patterns": layers} if isinstance(layers, list) else {"--layers": [layers]}
        )

    # --- maps -------------------------------------------------------------------------------------

    def source_of(self, side: str) -> Callable[[Wildcards], str]:
        """What gives the maps of the model that a wildcard names: its dump, or its stream."""

        def of(wildcards: Wildcards) -> str:
            runs = self.runs_model(wildcards.sample_set, wildcards[side])
            kind, ending = ("streams", "json") if runs else ("activations", f"zarr{MANIFEST}")
            return f"results/{kind}/{wildcards.sample_set}/{wildcards[side]}.{ending}"

        return of

    def weights_of_the_model(self, wildcards: Wildcards) -> Files:
        """Weights of a model; of an untrained copy, those of the model."""
        return weights([split_untrained(wildcards.model)[0]])

    def stream_options(self, wildcards: Wildcards, input) -> list[str]:
        """A model, its layers and its images, as options of a step."""
        entry = find_entry(wildcards.model, self.config["zoo"])
        layers = self.sample_set(wildcards.sample_set)["layers"]
        return words_of(
            {
                "--model": [wildcards.model],
                "--zoo": [self.config["zoo"]],
                "--samples": stores([input.samples]),
                "--patterns": layer_patterns(entry, layers, wildcards.model),
                "--dtype": [self.config["activations"]["dtype"]],
                "--images-per-shard": [self.config["activations"]["images_per_shard"]],
            }
        )

    def kept_maps(self, wildcards: Wildcards, plan: str) -> Path:
        """Folder of the maps that a sample set keeps, beside its plan."""
        kind = "matched_maps" if self.runs(wildcards.sample_set) else "activations"
        return Path(plan).parents[1] / kind / wildcards.sample_set

    def side_of(self, wildcards: Wildcards) -> str:
        """On which side a model stands in its tables of best buddies."""
        return "a" if wildcards.model == self.first_of(wildcards.sample_set) else "b"

    def tables_of_its_buddies(self, wildcards: Wildcards) -> Files:
        """Tables of best buddies that a model of a sample set is in, but for those with itself."""
        pairs = self.buddies_of(wildcards.sample_set, wildcards.model)
        return [f"results/best_buddies/{wildcards.sample_set}/{a}--{b}.csv" for a, b in pairs]

    def of_everyone(self, kind: str) -> Callable[[Wildcards], Files]:
        """Manifests of a kind of store, of generator and models of a sample set."""

        def of(wildcards: Wildcards) -> Files:
            name = wildcards.sample_set
            return [f"results/{kind}/{name}/{n}.zarr{MANIFEST}" for n in self.everyone(name)]

        return of

    def moments_of_the_first(self, wildcards: Wildcards) -> str:
        """Manifest of the moments of the model with which the others are compared."""
        name = wildcards.sample_set
        return f"results/moments/{name}/{self.first_of(name)}.zarr{MANIFEST}"

    def moments_taken(self, wildcards: Wildcards) -> str:
        """Manifest of a model's moments where they are taken: alone, or in a correlation's pass."""
        name, model = wildcards.sample_set, wildcards.model
        first = self.first_of(name)
        place = model if model == first else f"{first}/{model}"
        return f"results/moments_taken/{name}/{place}.zarr{MANIFEST}"

    def moments_of_b(self, wildcards: Wildcards, input, output) -> str:
        """Moments of a correlation's second model, which it reads or takes."""
        given = output[1] if self.runs(wildcards.sample_set) else input.moments_b
        return stores([given])[0]

    def moments_to_take(self, wildcards: Wildcards) -> list[str]:
        """Options of a correlation that takes moments of its second model."""
        name, b = wildcards.sample_set, wildcards.b
        if not self.runs(name):
            return []
        identity = self.identity("moments", {"sample_set": name, "model": b})
        return ["--measure-b", "--identity-of-moments", identity]

    def covariances_of_b(self, wildcards: Wildcards) -> Files:
        """Manifest of the covariances of a pair's second model, if evidence is to look at them."""
        if not self.config["evidence"]["spread"]:
            return []
        return [f"results/covariances/{wildcards.sample_set}/{wildcards.b}.zarr{MANIFEST}"]

    # --- dictionary -------------------------------------------------------------------------------

    def buddies_with(self, models: Callable[[str], Iterable[str]]) -> Callable[[Wildcards], Files]:
        """Tables of the generator's best buddies with some models of a sample set."""

        def of(wildcards: Wildcards) -> Files:
            name = wildcards.sample_set
            folder, first = f"results/best_buddies/{name}", self.first_of(name)
            return [f"{folder}/{first}--{model}.csv" for model in models(name)]

        return of

    def evidence_of_everyone(self, wildcards: Wildcards) -> Files:
        """Tables of the evidence of the generator's best buddies with each model."""
        name = wildcards.sample_set
        folder, first = f"results/evidence/{name}", self.first_of(name)
        return [f"{folder}/{first}--{other}.csv" for other in self.others_of(name)]

    def sums_of_everyone(self, wildcards: Wildcards) -> Files:
        """Manifests of the sums over images of the generator's best buddies with each model."""
        name = wildcards.sample_set
        folder, first = f"results/image_sums/{name}", self.first_of(name)
        return [f"{folder}/{first}--{other}.zarr{MANIFEST}" for other in self.others_of(name)]

    def untrained_of_the_pair(self, wildcards: Wildcards) -> Files:
        """Manifests of a model's correlations with the untrained copies of another."""
        name, a = wildcards.sample_set, wildcards.a
        copies = self.untrained_of(name, wildcards.b)
        return [f"results/correlations/{name}/{a}--{copy}.zarr{MANIFEST}" for copy in copies]

    def untrained_of_everyone(self, wildcards: Wildcards) -> Files:
        """Tables that compare each model with its untrained copies, if any are asked for."""
        name = wildcards.sample_set
        folder, first = f"results/untrained/{name}", self.first_of(name)
        others = [other for other in self.others_of(name) if self.untrained_of(name, other)]
        return [f"{folder}/{first}--{other}.csv" for other in others]

    def buddies_of_itself(self, wildcards: Wildcards) -> Files:
        """The table of the generator's best buddies with itself."""
        return self.buddies_with(lambda name: [self.first_of(name)])(wildcards)

    def correlations_of_itself(self, wildcards: Wildcards) -> str:
        """Manifest of the generator's correlations with itself."""
        name = self.first_of(wildcards.sample_set)
        return f"results/correlations/{wildcards.sample_set}/{name}--{name}.zarr{MANIFEST}"

    def settings_in_words(self) -> str:
        """What a dictionary was mined with, for its page."""
        chosen = self.config["clustering"]
        method = METHODS[chosen["method"]].words.format(**chosen)
        return f"K = {self.config['neighbours']}, concepts by {method}"

    def visualise_options(self) -> list[str]:
        """What the optimisation of single units is told, as options of the step."""
        shared = self.config["inversion"]
        return words_of({f"--{key.replace('_', '-')}": [shared[key]] for key in VISUALISED})

    def pages(self) -> Files:
        """What one looks at: plan, page and figures of the sample set that is asked for."""
        name = self.config["sample_set"]
        shown = ("index.html", "trust.html", "figure2.png", "figure3.png")
        return [f"results/plans/{name}.txt", *(f"results/dictionary/{name}/{f}" for f in shown)]

    def partners_of_everyone(self, wildcards: Wildcards) -> Files:
        """Tables of the partners of the generator with each model."""
        name = wildcards.sample_set
        folder, first = f"results/partners/{name}", self.first_of(name)
        return [f"{folder}/{first}--{other}.csv" for other in self.others_of(name)]

    def model_of_words(self) -> Files:
        """Weights of the model that scores words."""
        return weights([self.config["labels"]["model"]] if "model" in self.config["labels"] else [])

    def scores_of_labels(self, wildcards: Wildcards) -> Files:
        """Manifests of labels of the images of a sample set.

        Raises:
            ValueError: It has none.
        """
        name = wildcards.sample_set
        if not (kinds := self.label_sources(name)):
            raise UserError(
                f"labels: nothing labels the images of sample set {name}. Give it labels: a CSV of "
                "one's own, or give vocabulary and model under labels (docs/how-to/labels.md)."
            )
        return [file_of((kind, name)) for kind in kinds]

    def labels_shown(self, wildcards: Wildcards) -> Files:
        """The table of labels of a sample set, if some are asked for."""
        name = wildcards.sample_set
        return [f"results/labels/{name}.csv"] if self.label_sources(name) else []

    def labels(self) -> Files:
        """The labels of the sample set that is asked for."""
        return [f"results/labels/{self.config['sample_set']}.csv"]

    def coverage(self) -> Files:
        """The coverage of the sample set that is asked for, and how its concepts fire."""
        name = self.config["sample_set"]
        files = [f"results/coverage/{name}.{ending}" for ending in ("csv", "png")]
        return [*files, f"results/firing/{name}.csv"]

    def site(self) -> Files:
        """The site of the sample set that is asked for."""
        return [f"results/site/{self.config['sample_set']}/index.html"]

    def of_both(self, files: Callable[[Wildcards], Files]) -> Callable[[Wildcards], Files]:
        """What an input function gives for the first and for the second of two sample sets."""

        def of(wildcards: Wildcards) -> Files:
            both = (wildcards.first, wildcards.second)
            return [file for name in both for file in files(SimpleNamespace(sample_set=name))]

        return of

    def rosetta(self, wildcards: Wildcards) -> Files:
        """The dictionary of a sample set."""
        return [f"results/dictionary/{wildcards.sample_set}/rosetta.csv"]

    def samples(self, wildcards: Wildcards) -> Files:
        """Manifest of the images of a sample set."""
        return [f"results/samples/{wildcards.sample_set}.zarr{MANIFEST}"]

    def correlations_with_everyone(self, wildcards: Wildcards) -> Files:
        """Manifests of the correlations of the generator with each model."""
        name = wildcards.sample_set
        folder, first = f"results/correlations/{name}", self.first_of(name)
        return [f"{folder}/{first}--{other}.zarr{MANIFEST}" for other in self.others_of(name)]

    def parts_of_bundle(self, wildcards: Wildcards) -> Files:
        """What a bundle follows from: manifests, a page and a figure."""
        return [file_of(node) for node in self._recipe(("bundle", wildcards.sample_set))[1]]

    def artefacts_of_bundle(self, wildcards: Wildcards, input) -> Files:
        """Stores, tables, pages and figures that a bundle holds."""
        name = wildcards.sample_set
        beside = ("trust.html", "concepts", "figure2.png", "figure2.pdf", "figure3.pdf")
        tables = map(Path, self.evidence_of_everyone(wildcards))
        units = [str(table.parent / "units" / table.name) for table in tables]
        pages = [f"results/dictionary/{name}/{file}" for file in beside]
        return [*stores(input), *units, *pages]

    def bundle_settings(self, wildcards: Wildcards) -> str:
        """With what the dictionary of a bundle was mined, as JSON."""
        return json.dumps(self.settings_of_bundle(wildcards.sample_set))

    def bundle(self) -> Files:
        """The bundle of the sample set that is asked for."""
        return [f"results/bundles/{self.config['sample_set']}/bundle.json"]

    def all_permutations(self) -> Files:
        """Histograms of z of the generator with each model of the sample set that is asked for."""
        name = self.config["sample_set"]
        folder, first = f"results/permutations/{name}", self.first_of(name)
        return [f"{folder}/{first}--{other}.png" for other in self.others_of(name)]

    def all_parts(self, wildcards: Wildcards) -> Files:
        """Parts of every pair of units of the generator and each model.

        Raises:
            ValueError: The correlations that are mined have no such parts.
        """
        name, chosen = self.config["sample_set"], self.config["correlation"]
        for key, wanted in (("keep", "table"), ("similarity", "pearson")):
            if chosen[key] != wanted:
                raise UserError(
                    f"all_parts: correlation.{key} is {chosen[key]}, and parts are those of "
                    f"Pearson's r of every pair. Set {key}: {wanted}."
                )
        folder, first = f"results/parts/{name}", self.first_of(name)
        return [f"{folder}/{first}--{other}.zarr{MANIFEST}" for other in self.others_of(name)]

    # --- replications -----------------------------------------------------------------------------

    def replication(self, name: str) -> dict:
        """Settings of a replication, held against the zoo.

        Raises:
            ValueError: There is none of this name, or its sample sets do not fit the zoo.
        """
        chosen = super().replication(name)
        self.checked.hold_replication(name)
        return chosen

    def of_replication(self, kind: str) -> Callable[[Wildcards], Files]:
        """Stores or tables of a pair, of each sample set of a replication: the mined one first."""
        ending = ".csv" if kind == "best_buddies" else f".zarr{MANIFEST}"

        def of(wildcards: Wildcards) -> Files:
            return [
                f"results/{kind}/{name}/{wildcards.a}--{wildcards.b}{ending}"
                for name in self.sets_of_replication(wildcards.replication)
            ]

        return of

    def moments_of_replication(self, side: str) -> Callable[[Wildcards], Files]:
        """Manifests of the moments of a pair's model, of each sample set of a replication."""

        def of(wildcards: Wildcards) -> Files:
            return [
                f"results/moments/{name}/{wildcards[side]}.zarr{MANIFEST}"
                for name in self.sets_of_replication(wildcards.replication)
            ]

        return of

    def comparisons_of(self, wildcards: Wildcards) -> list[str]:
        """What the sample sets of a replication are, but for the mined one."""
        return list(self.compared_with(wildcards.replication))

    def _pairs_of_replication(self, name: str) -> list[str]:
        mined = self.replication(name)["mined"]
        return [f"{self.first_of(mined)}--{other}" for other in self.others_of(mined)]

    def replicated_pairs_of(self, wildcards: Wildcards) -> Files:
        """Tables of replicated pairs, one a model of the mined sample set."""
        name = wildcards.replication
        return [f"results/replication/{name}/{p}.csv" for p in self._pairs_of_replication(name)]

    def sums_of_replication(self, wildcards: Wildcards) -> Files:
        """Manifests of the sums over images: every model of one sample set, then of the next."""
        return [
            f"results/image_sums/{name}/{pair}.zarr{MANIFEST}"
            for name in self.sets_of_replication(wildcards.replication)
            for pair in self._pairs_of_replication(wildcards.replication)
        ]

    def all_replications(self, wildcards: Wildcards) -> Files:
        """Figures of every replication of what is mined on the sample set."""
        names = self._some_guided("replications")
        return [f"results/replication/{name}.png" for name in names]

    # --- interventions ----------------------------------------------------------------------------

    def generator_of_intervention(self, wildcards: Wildcards) -> str:
        """The generator whose units are clamped.

        Raises:
            ValueError: The sample set has none, or the model is not mined with it.
        """
        name, model = wildcards.sample_set, wildcards.model
        if "generator" not in self.sample_set(name):
            raise UserError(
                f"sample set {name} is of photos: no generator made its images, so no unit can be "
                "clamped. Take a sample set of a generator."
            )
        if model not in self.others_of(name):
            raise UserError(
                f"{model} is not among the models that sample set {name} is mined with: "
                f"{', '.join(self.others_of(name))}."
            )
        return self.first_of(name)

    def moments_of_intervention(self, wildcards: Wildcards) -> Files:
        """Manifests of the moments of the generator and of the model."""
        both = self.generator_of_intervention(wildcards), wildcards.model
        return [f"results/moments/{wildcards.sample_set}/{one}.zarr{MANIFEST}" for one in both]

    def weights_of_intervention(self, wildcards: Wildcards) -> Files:
        """Weights of the generator and of the model."""
        return weights([self.generator_of_intervention(wildcards), wildcards.model])

    def all_interventions(self, wildcards: Wildcards) -> Files:
        """The causal check of every model of the sample set that is asked for.

        Raises:
            ValueError: It has no generator.
        """
        name = self.config["sample_set"]
        first = SimpleNamespace(sample_set=name, model=self.others_of(name)[0])
        self.generator_of_intervention(first)
        return [f"results/interventions/{name}/{model}.csv" for model in self.intervened(name)]

    # --- inversions -------------------------------------------------------------------------------

    def of_inversion(self, key: str) -> Callable[[Wildcards], Any]:
        """A setting of the inversion of a rule."""
        return lambda wildcards: self.inversion(wildcards.inversion)[key]

    def targets_of(self, wildcards: Wildcards) -> str:
        """Manifest of the images that are inverted, of an inversion or of that of a table."""
        name = wildcards.get("inversion") or self.config["tables"][wildcards.table]
        return f"results/samples/{self.inversion(name)['targets']}.zarr{MANIFEST}"

    def inversion_options(self, wildcards: Wildcards) -> list[str]:
        """What the optimisation of an inversion is told, as options of the step."""
        chosen = self.inversion(wildcards.inversion)
        keys = [key for key in self.config["inversion"] if key not in ("arms", "metrics")]
        keys += ["class"] if "class" in chosen else []
        return words_of({f"--{key.replace('_', '-')}": [chosen[key]] for key in keys})

    def generator_of(self, wildcards: Wildcards) -> str:
        """The generator through which an inversion goes."""
        return self.first_of(self.inversion(wildcards.inversion)["matches"])

    def weights_of_its_way(self, wildcards: Wildcards) -> Files:
        """Weights of the generator through which an inversion goes."""
        return weights([self.generator_of(wildcards)])

    def guides_of(self, wildcards: Wildcards) -> list[str]:
        """Models whose matches guide an arm; all of them where a rule has no arm."""
        return self.guides(wildcards.inversion, wildcards.get("arm", ARM_WITH_ALL))

    def buddies_of_guides(self, wildcards: Wildcards) -> Files:
        """Best buddies of the generator with the models that guide."""
        mined, generator = (
            self.inversion(wildcards.inversion)["matches"],
            self.generator_of(wildcards),
        )
        folder = f"results/best_buddies/{mined}"
        return [f"{folder}/{generator}--{model}.csv" for model in self.guides_of(wildcards)]

    def moments_of_guides(self, wildcards: Wildcards) -> Files:
        """Manifests of the moments of the generator and of the models that guide."""
        folder = f"results/moments/{self.inversion(wildcards.inversion)['matches']}"
        guides = self.guides_of(wildcards)
        everyone = [self.generator_of(wildcards), *guides] if guides else []
        return [f"{folder}/{model}.zarr{MANIFEST}" for model in everyone]

    def weights_of_guides(self, wildcards: Wildcards) -> Files:
        """Weights of generator, guides and perceptual network."""
        arm = wildcards.get("arm", ARM_WITH_ALL)
        return weights(self.networks_of(wildcards.inversion, arm))

    def arms_manifests(self, wildcards: Wildcards) -> Files:
        """Manifests of every arm of an inversion, or of that of a table."""
        name = wildcards.get("inversion") or self.config["tables"][wildcards.table]
        return [f"results/inversions/{name}/{arm}.zarr{MANIFEST}" for arm in self.arms_of(name)]

    def of_tabled(self, key: str) -> Callable[[Wildcards], Any]:
        """A setting of the inversion of which a table tells."""
        return lambda wildcards: self.inversion(self.config["tables"][wildcards.table])[key]

    def weights_of_metrics(self, wildcards: Wildcards) -> Files:
        """Weights of the models of the zoo that measure a perceptual distance."""
        return weights(self.networks_of_metrics(self.config["tables"][wildcards.table]))

    def figure_identity(self, wildcards: Wildcards) -> str:
        """What a figure of an inversion follows from, by its name."""
        return self.identity(wildcards.figure, wildcards)

    def all_inversions(self, wildcards: Wildcards) -> Files:
        """Tables, figures and animations of what the sample set's matches guide."""
        guided = self._some_guided("inversions")
        files = [
            f"results/inversions/{t}.csv" for t, of in self.config["tables"].items() if of in guided
        ]
        for name in guided:
            files += [f"results/figures/{name}/{figure}" for figure in self.figures_of(name)]
            files.append(f"results/figures/{self.inversion(name)['matches']}/figure1.png")
        return list(dict.fromkeys(files))

    # --- edits ------------------------------------------------------------------------------------

    def edited(self, wildcards: Wildcards) -> dict:
        """Settings of an edit."""
        return self.config["edits"][wildcards.edit]

    def source_of_edit(self, wildcards: Wildcards) -> str:
        """Manifest of the latents that are edited: of a sample set, or of an arm."""
        source = self.edited(wildcards)["source"]
        folder = "inversions" if "/" in source else "samples"
        return f"results/{folder}/{Path(source).as_posix()}.zarr{MANIFEST}"

    def edit_options(self, wildcards: Wildcards) -> list[str]:
        """What is edited and how, as options of the step."""
        chosen = self.edited(wildcards)
        return words_of(
            {
                f"--{key.replace('_', '-')}": value if isinstance(value, list) else [value]
                for key, value in chosen.items()
                if key not in ("matches", "source")
            }
        )

    def generator_of_edit(self, wildcards: Wildcards) -> str:
        """The generator whose maps are edited."""
        return self.first_of(self.edited(wildcards)["matches"])

    def weights_of_edit(self, wildcards: Wildcards) -> Files:
        """Weights of the generator whose maps are edited."""
        return weights([self.generator_of_edit(wildcards)])

    def guides_of_edit(self, wildcards: Wildcards) -> list[str]:
        """All models that were mined with the generator."""
        return self.others_of(self.edited(wildcards)["matches"])

    def dictionary_of_edit(self, wildcards: Wildcards) -> str:
        """The dictionary that names the concepts of an edit."""
        return f"results/dictionary/{self.edited(wildcards)['matches']}/rosetta.csv"

    def buddies_of_edit(self, wildcards: Wildcards) -> Files:
        """Best buddies of the generator with every model that was mined with it."""
        mined = self.edited(wildcards)["matches"]
        return self.buddies_with(self.others_of)(SimpleNamespace(sample_set=mined))

    def moments_of_edit(self, wildcards: Wildcards) -> Files:
        """Manifests of the moments of all that were mined together."""
        mined = self.edited(wildcards)["matches"]
        return self.of_everyone("moments")(SimpleNamespace(sample_set=mined))

    def edits_of_figure(self, wildcards: Wildcards) -> Files:
        """Manifests of the edits that a figure shows."""
        shown = self.config["edit_figures"][wildcards.figure]
        return [f"results/edits/{edit}.zarr{MANIFEST}" for edit in shown]

    def all_edits(self, wildcards: Wildcards) -> Files:
        """Every edit that the sample set's matches guide, and the figures of them."""
        edits = self._some_guided("edits")
        files = [f"results/edits/{edit}.csv" for edit in edits]
        for figure, shown in self.config["edit_figures"].items():
            files += [f"results/figures/edits/{figure}.png"] if set(shown) <= set(edits) else []
        return files

    def _some_guided(self, kind: str) -> list[str]:
        if found := self.guided(kind):
            return found
        asked = self.config["sample_set"]
        examples = [f"{path} has some (--configfile {path})" for path in examples_of(kind)]
        raise UserError(
            f"{kind}: the config has none whose `{MINED_BY.get(kind, 'matches')}` is {asked}. "
            f"{'; '.join([*examples, 'write one, or ask for another sample_set'])}."
        )


def weights(models: Iterable[str]) -> Files:
    """The checked weights of some models."""
    return [f"results/weights/{model}.txt" for model in models]
