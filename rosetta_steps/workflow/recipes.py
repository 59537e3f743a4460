"""What every artefact follows from: its own settings, its step, and other artefacts.

The identity of an artefact is a digest of all of it, down to entries, weights and images. A step
records it in the manifest of what it writes. So whatever a killed job, a copied folder or a lost
`.snakemake` has left behind, an artefact that follows from something else than the config says now
shows in itself, and is made again (`stale`).
"""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path

from rosetta_steps.labelling.settings import OF_A_VERDICT
from rosetta_steps.stimuli.image_files import folder_digest
from rosetta_steps.stimuli.picture_list import list_digest
from rosetta_steps.storage.digests import digest_of, sha256_of
from rosetta_steps.storage.manifests import identity_recorded
from rosetta_steps.storage.revisions import revision
from rosetta_steps.workflow.chosen import ARM_WITH_ALL, Chosen
from rosetta_steps.zoo.entries import entry_digest, find_entry, layer_patterns
from rosetta_steps.zoo.weights import sha256, sha256_of_weights

MANIFEST = ".done.json"
# Kind of artefact to the file that a rule writes of it last.
FILES = {
    "samples": "results/samples/{sample_set}.zarr.done.json",
    "activations": "results/activations/{sample_set}/{model}.zarr.done.json",
    "stream": "results/streams/{sample_set}/{model}.json",
    "moments": "results/moments/{sample_set}/{model}.zarr.done.json",
    "correlations": "results/correlations/{sample_set}/{a}--{b}.zarr.done.json",
    "best_buddies": "results/best_buddies/{sample_set}/{a}--{b}.csv.done.json",
    "matched_maps": "results/matched_maps/{sample_set}/{model}.zarr.done.json",
    "covariances": "results/covariances/{sample_set}/{model}.zarr.done.json",
    "image_sums": "results/image_sums/{sample_set}/{a}--{b}.zarr.done.json",
    "evidence": "results/evidence/{sample_set}/{a}--{b}.csv.done.json",
    "own_scores": "results/label_scores/{sample_set}/csv.zarr.done.json",
    "word_scores": "results/label_scores/{sample_set}/open_clip.zarr.done.json",
    "labels": "results/labels/{sample_set}.csv.done.json",
    "site": "results/site/{sample_set}/index.html",
    "partners": "results/partners/{sample_set}/{a}--{b}.csv.done.json",
    "coverage": "results/coverage/{sample_set}.csv.done.json",
    "links": "results/links/{first}/{second}/index.html",
    "firing": "results/firing/{sample_set}.csv.done.json",
    "parts": "results/parts/{sample_set}/{a}--{b}.zarr.done.json",
    "permutations": "results/permutations/{sample_set}/{a}--{b}.zarr.done.json",
    "names": "results/evidence/{sample_set}/names.csv.done.json",
    "untrained": "results/untrained/{sample_set}/{a}--{b}.csv.done.json",
    "replicated_pairs": "results/replication/{replication}/{a}--{b}.csv.done.json",
    "replication": "results/replication/{replication}.csv.done.json",
    "intervention": "results/interventions/{sample_set}/{model}.csv.done.json",
    "concepts": "results/dictionary/{sample_set}/rosetta.csv.done.json",
    "page": "results/dictionary/{sample_set}/index.html",
    "figures": "results/dictionary/{sample_set}/figure3.png",
    "bundle": "results/bundles/{sample_set}/bundle.json",
    "visualisations": "results/visualisations/{sample_set}.zarr.done.json",
    "arm": "results/inversions/{inversion}/{arm}.zarr.done.json",
    "table": "results/inversions/{table}.csv.done.json",
    "figure4": "results/figures/{inversion}/figure4.png",
    "figure5": "results/figures/{inversion}/figure5.png",
    "figure6": "results/figures/{inversion}/figure6.png",
    "figure7": "results/figures/{inversion}/figure7.png",
    "loss": "results/figures/{inversion}/loss.png",
    "animation": "results/figures/{inversion}/animation.webp",
    "edit": "results/edits/{edit}.zarr.done.json",
    "edit_figure": "results/figures/edits/{figure}.png",
}
# Files that rules write with those above.
BESIDE = [
    ("visualisations", "results/figures/{sample_set}/figure1.png"),
    ("edit", "results/edits/{edit}.csv"),
    ("page", "results/dictionary/{sample_set}/trust.html"),
    ("evidence", "results/evidence/{sample_set}/units/{a}--{b}.csv"),
    ("coverage", "results/coverage/{sample_set}.png"),
    ("permutations", "results/permutations/{sample_set}/{a}--{b}.png"),
    ("replication", "results/replication/{replication}.png"),
]
Node = tuple[str, ...]  # kind, and the values of its wildcards in the order of its file


class Recipes(Chosen):
    """What the artefacts of a checked config follow from."""

    def __init__(self, config: dict):
        super().__init__(config)
        self._identities: dict[Node, str] = {}
        self._models: dict[str, list] = {}
        self._several: dict[tuple[str, str], bool] = {}

    def identity(self, kind: str, wildcards: Mapping[str, str]) -> str:
        """What an artefact follows from, in twelve hexadecimal digits.

        Args:
            kind: One of FILES.
            wildcards: Of its file; others are ignored.

        Raises:
            ValueError: The config has no such sample set, model, inversion or edit.
        """
        names = re.findall(r"{(\w+)}", FILES[kind])
        return self._identity((kind, *(wildcards[name] for name in names)))

    def stale(self, targets: Iterable[str]) -> set[str]:
        """Files on the way to some targets that are missing or follow from something else.

        Args:
            targets: Files and names of target rules, as they are typed.

        Returns:
            The files that have to be made, whatever is newer than what: of stores and tables, their
            manifests. Nothing of targets that are not known here.
        """
        return {file_of(node) for node in self.chain(targets) if self._is_stale(node)}

    def several_stale(self, kind: str, name: str, targets: Iterable[str]) -> bool:
        """Whether an artefact is to be made for two or more models beside the first of a set.

        What was so when it was first asked for stays so, while files appear.

        Args:
            kind: One of FILES: of a model, or of the first with another.
            name: Of the sample set.
            targets: As `stale` has them.
        """
        if (kind, name) not in self._several:
            first = self.first_of(name)
            on_the_way = (node for node in self.chain(targets) if node[:2] == (kind, name))
            others = (node for node in on_the_way if node[-1] != first and self._is_stale(node))
            self._several[kind, name] = len(list(islice(others, 2))) == 2
        return self._several[kind, name]

    def _is_stale(self, node: Node) -> bool:
        artefact = file_of(node).removesuffix(MANIFEST)
        lost = artefact.endswith(".csv") and not Path(artefact).is_file()
        return lost or identity_recorded(Path(artefact)) != self._identity(node)

    def chain(self, targets: Iterable[str]) -> set[Node]:
        """All artefacts on the way to some targets; none where a target is not known here."""
        waiting = [node for target in targets for node in self._nodes_of(target)]
        seen: set[Node] = set()
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += self._recipe(node)[1]
        return seen

    # --- recipes ----------------------------------------------------------------------------------

    def _identity(self, node: Node) -> str:
        if node not in self._identities:
            settings, inputs = self._recipe(node)
            parts = [node[0], settings, [self._identity(one) for one in inputs]]
            self._identities[node] = digest_of(parts)
        return self._identities[node]

    def _recipe(self, node: Node) -> tuple[dict, list[Node]]:
        kind, *wildcards = node
        return getattr(self, f"_{kind}")(*wildcards)

    def _samples(self, name: str) -> tuple[dict, list[Node]]:
        chosen = self.sample_set(name)
        origin = ("images", "truncation", "class", "latent_bound", "seed", "size", "unreadable")
        settings = {key: chosen[key] for key in (*origin, "images_per_class") if key in chosen}
        if "generator" in chosen:
            settings |= {"step": revision("sampling"), "model": self.model(chosen["generator"])}
        elif "photos" in chosen:
            files = folder_digest(self.photos(name))
            settings |= {"step": revision("image_folder"), "files": files}
        else:
            settings |= {"step": revision("pictures"), "files": list_digest(chosen["pictures"])}
        return settings, []

    def _maps(self, name: str, model: str) -> dict:
        layers = self.sample_set(name)["layers"]
        entry = find_entry(model, self.config["zoo"])
        settings = self.config["activations"]
        return {
            "model": self.model(model),
            "layers": layer_patterns(entry, layers, model),
            "dtype": settings["dtype"],
            "images_per_shard": settings["images_per_shard"],
        }

    def _activations(self, name: str, model: str) -> tuple[dict, list[Node]]:
        return self._maps(name, model) | {"step": revision("activations")}, [("samples", name)]

    def _matched_maps(self, name: str, model: str) -> tuple[dict, list[Node]]:
        settings = {
            "step": revision("matched_maps"),
            "images_per_shard": self.config["activations"]["images_per_shard"],
        }
        pairs = self.buddies_of(name, model)
        tables: list[Node] = [("best_buddies", name, *pair) for pair in pairs]
        return settings, [self._source(name, model), *tables]

    def _stream(self, name: str, model: str) -> tuple[dict, list[Node]]:
        settings = self._maps(name, model) | {"step": revision("streams")}
        return settings, [("samples", name)]

    def _source(self, name: str, model: str) -> Node:
        return ("stream" if self.runs_model(name, model) else "activations", name, model)

    def _moments(self, name: str, model: str) -> tuple[dict, list[Node]]:
        settings = {
            "step": revision("moments"),
            "splits": self.config["correlation"]["splits"],
        }
        return settings, [self._source(name, model)]

    def _correlations(self, name: str, a: str, b: str) -> tuple[dict, list[Node]]:
        keys = ("images_per_strip", "images_per_block", "threads_per_worker", "splits", "precision")
        settings = {key: self.config["correlation"][key] for key in (*keys, "similarity")}
        settings["nearest"] = self.neighbours_kept(a, b)
        settings["decoys"] = self.decoys(a, b)
        settings["step"] = revision("correlation.step")
        inputs = [("samples", name), *(self._source(name, model) for model in (a, b))]
        return settings, inputs + [("moments", name, model) for model in (a, b)]

    def _best_buddies(self, name: str, a: str, b: str) -> tuple[dict, list[Node]]:
        settings = {
            "step": revision("best_buddies"),
            "neighbours": self.config["neighbours"],
        }
        return settings, [("correlations", name, a, b)]

    def _covariances(self, name: str, model: str) -> tuple[dict, list[Node]]:
        # Of the first model only the sizes of layers are looked at.
        moments: list[Node] = [("moments", name, one) for one in (model, self.first_of(name))]
        return {"step": revision("covariances")}, [self._source(name, model), *moments]

    def _image_sums(self, name: str, a: str, b: str) -> tuple[dict, list[Node]]:
        # The generator's matched maps would be those of every model.
        maps: list[Node] = [self._source(name, a), ("matched_maps", name, b)]
        moments: list[Node] = [("moments", name, model) for model in (a, b)]
        inputs: list[Node] = [("samples", name), ("best_buddies", name, a, b)]
        return {"step": revision("image_sums")}, inputs + maps + moments

    def _evidence(self, name: str, a: str, b: str) -> tuple[dict, list[Node]]:
        settings = {"step": revision("evidence.table"), "neighbours": self.config["neighbours"]}
        kinds = ("correlations", "best_buddies", "image_sums")
        inputs: list[Node] = [(kind, name, a, b) for kind in kinds]
        moments: list[Node] = [("moments", name, model) for model in (a, b)]
        inputs += [("covariances", name, b)] if self.config["evidence"]["spread"] else []
        return settings | self.config["evidence"], inputs + moments + self._copies(name, a, b)

    def _names(self, name: str) -> tuple[dict, list[Node]]:
        first, others = self.first_of(name), self.others_of(name)
        return {"step": revision("names")}, [("image_sums", name, first, one) for one in others]

    def _own_scores(self, name: str) -> tuple[dict, list[Node]]:
        file = sha256_of(Path(self.sample_set(name)["labels"]))
        return {"step": revision("labelling.own_scores"), "file": file}, [("samples", name)]

    def _word_scores(self, name: str) -> tuple[dict, list[Node]]:
        chosen = self.config["labels"]
        settings = {
            "step": revision("labelling.word_scores"),
            "file": sha256_of(Path(chosen["vocabulary"])),
            "model": self.model(chosen["model"]),
            "template": chosen["template"],
        }
        return settings, [("samples", name)]

    def _labels(self, name: str) -> tuple[dict, list[Node]]:
        chosen = {key: self.config["labels"][key] for key in OF_A_VERDICT}
        inputs: list[Node] = [("samples", name), ("concepts", name)]
        inputs += [("matched_maps", name, model) for model in self.everyone(name)]
        sources: list[Node] = [(kind, name) for kind in self.label_sources(name)]
        return chosen | {"step": revision("labels")}, inputs + sources

    def _labels_shown(self, name: str) -> list[Node]:
        return [("labels", name)] if self.label_sources(name) else []

    def _copies(self, name: str, a: str, b: str) -> list[Node]:
        return [("correlations", name, a, copy) for copy in self.untrained_of(name, b)]

    def _untrained(self, name: str, a: str, b: str) -> tuple[dict, list[Node]]:
        settings = {"step": revision("untrained"), "neighbours": self.config["neighbours"]}
        return settings, [("correlations", name, a, b), *self._copies(name, a, b)]

    def _parts(self, name: str, a: str, b: str) -> tuple[dict, list[Node]]:
        inputs: list[Node] = [("correlations", name, a, b)]
        for model in (a, b):
            inputs += [self._source(name, model), ("moments", name, model)]
        return {"step": revision("parts")}, inputs

    def _permutations(self, name: str, a: str, b: str) -> tuple[dict, list[Node]]:
        settings = {
            "step": revision("permute"),
            "level": self.config["evidence"]["level"],
            "images_per_block": self.config["correlation"]["images_per_block"],
        }
        inputs: list[Node] = [("samples", name), ("best_buddies", name, a, b)]
        return settings, [*inputs, *(self._source(name, model) for model in (a, b))]

    def _replicated_pairs(self, name: str, a: str, b: str) -> tuple[dict, list[Node]]:
        settings = {
            "step": revision("replicated_pairs"),
            "neighbours": self.config["neighbours"],
            "resamples": self.config["evidence"]["resamples"],
            "compared_with": self.compared_with(name),
        }
        inputs: list[Node] = []
        for one in self.sets_of_replication(name):
            kinds = ("correlations", "best_buddies", "image_sums")
            inputs += [(kind, one, a, b) for kind in kinds]
            inputs += [("moments", one, model) for model in (a, b)]
        return settings, inputs

    def _replication(self, name: str) -> tuple[dict, list[Node]]:
        settings = {
            "step": revision("replication"),
            "sets": self.sets_of_replication(name),
            "resamples": self.config["evidence"]["resamples"],
        }
        mined = self.replication(name)["mined"]
        first, others = self.first_of(mined), self.others_of(mined)
        pairs: list[Node] = [("replicated_pairs", name, first, other) for other in others]
        return settings, pairs

    def _intervention(self, name: str, model: str) -> tuple[dict, list[Node]]:
        both = self.first_of(name), model
        settings = self.config["interventions"] | {
            "step": revision("intervention"),
            "models": [self.model(one) for one in both],
        }
        moments: list[Node] = [("moments", name, one) for one in both]
        return settings, [("samples", name), ("concepts", name), *moments]

    def sets_of_replication(self, name: str) -> list[str]:
        """Sample sets of a replication: the mined one, then one a comparison."""
        return [self.replication(name)["mined"], *self.compared_with(name).values()]

    def _concepts(self, name: str) -> tuple[dict, list[Node]]:
        settings = self.config["clustering"] | {"step": revision("concepts")}
        first = self.first_of(name)
        pairs = [(first, other) for other in self.everyone(name)[1:] + [first]]
        tables: list[Node] = [("best_buddies", name, *pair) for pair in pairs]
        return settings, [*tables, ("correlations", name, first, first)]

    def _shown(self, name: str) -> list[Node]:
        kinds = ("matched_maps", "moments")
        maps = [(kind, name, model) for kind in kinds for model in self.everyone(name)]
        return [("concepts", name), ("samples", name), *maps]

    def _page(self, name: str) -> tuple[dict, list[Node]]:
        # A page's head says how it was mined.
        mined = [self.config["neighbours"], self.config["clustering"]]
        settings = {"step": revision("dictionary"), "mined": mined}
        first, others = self.first_of(name), self.others_of(name)
        tested: list[Node] = [("evidence", name, first, other) for other in others]
        tested += [("names", name), *self._labels_shown(name)]
        compared = [other for other in others if self.untrained_of(name, other)]
        tested += [("untrained", name, first, other) for other in compared]
        return settings, self._shown(name) + tested

    def _figures(self, name: str) -> tuple[dict, list[Node]]:
        settings = self.config["figures"] | {"step": revision("figures")}
        return settings, self._shown(name)

    def _partners(self, name: str, a: str, b: str) -> tuple[dict, list[Node]]:
        settings = {"step": revision("partners"), "neighbours": self.config["neighbours"]}
        return settings, [("correlations", name, a, b), ("evidence", name, a, b)]

    def _coverage(self, name: str) -> tuple[dict, list[Node]]:
        first = self.first_of(name)
        pairs: list[Node] = [("partners", name, first, other) for other in self.others_of(name)]
        return {"step": revision("coverage")}, pairs

    def _firing(self, name: str) -> tuple[dict, list[Node]]:
        first = self.first_of(name)
        sums: list[Node] = [("image_sums", name, first, other) for other in self.others_of(name)]
        return {"step": revision("firing")}, [("concepts", name), *sums]

    def _site(self, name: str) -> tuple[dict, list[Node]]:
        first, others = self.first_of(name), self.others_of(name)
        mined = [self.config["neighbours"], self.config["clustering"]]
        tested: list[Node] = [("evidence", name, first, other) for other in others]
        tested += [("partners", name, first, other) for other in others]
        tested += self._labels_shown(name)
        tested += [("names", name), ("coverage", name), ("correlations", name, first, first)]
        inputs = [*self._shown(name), *tested]
        return {"step": revision("site"), "mined": mined}, inputs

    def _links(self, *names: str) -> tuple[dict, list[Node]]:
        settings = {"step": revision("links"), "level": self.config["evidence"]["level"]}
        inputs: list[Node] = []
        for name in names:
            first, others = self.first_of(name), self.others_of(name)
            inputs += self._shown(name)
            for kind in ("correlations", "evidence"):
                inputs += [(kind, name, first, other) for other in others]
        return settings, inputs

    def _bundle(self, name: str) -> tuple[dict, list[Node]]:
        first, others = self.first_of(name), self.others_of(name)
        kind = "matched_maps" if self.runs(name) else "activations"
        inputs: list[Node] = [("page", name), ("figures", name), ("concepts", name)]
        inputs += [
            ("samples", name),
            ("names", name),
            (kind, name, first),
            ("moments", name, first),
        ]
        inputs += [("correlations", name, first, first), *self._labels_shown(name)]
        inputs += [("best_buddies", name, first, other) for other in (*others, first)]
        inputs += [("evidence", name, first, other) for other in others]
        return self.settings_of_bundle(name) | {"step": revision("bundle")}, inputs

    def settings_of_bundle(self, name: str) -> dict:
        """With what a dictionary was mined, which a network that joins it needs."""
        kept = ("images_per_strip", "images_per_block", "splits", "similarity", "decoys", "keep")
        correlation = self.config["correlation"]
        return {
            "sample_set": {k: v for k, v in self.sample_set(name).items() if k not in PRIVATE},
            "neighbours": self.config["neighbours"],
            "activations": self.config["activations"],
            "correlation": {key: correlation[key] for key in (*kept, "precision")},
            "clustering": self.config["clustering"],
            "evidence": self.config["evidence"],
        }

    def _visualisations(self, name: str) -> tuple[dict, list[Node]]:
        shared = self.config["inversion"]
        settings = {key: shared[key] for key in VISUALISED}
        settings["step"] = revision("inversion.visualise")
        settings["models"] = [self.model(model) for model in self.everyone(name)]
        return settings, self._shown(name)

    def _arm(self, name: str, arm: str) -> tuple[dict, list[Node]]:
        chosen = self.inversion(name)
        settings = {key: chosen[key] for key in chosen if key not in NOT_OF_AN_ARM}
        settings["step"] = revision("inversion.invert")
        settings["models"] = [self.model(model) for model in self.networks_of(name, arm)]
        mined, guides = chosen["matches"], self.guides(name, arm)
        first = self.first_of(mined)
        inputs: list[Node] = [("samples", chosen["targets"])]
        if guides:
            inputs += [("best_buddies", mined, first, guide) for guide in guides]
            inputs += [("moments", mined, model) for model in (first, *guides)]
        return settings, inputs

    def _table(self, table: str) -> tuple[dict, list[Node]]:
        name = self.config["tables"][table]
        chosen = self.inversion(name)
        settings = {
            "step": revision("inversion.table"),
            "metrics": chosen["metrics"],
            "perceptual_size": chosen["perceptual_size"],
            "models": [self.model(model) for model in self.networks_of_metrics(name)],
        }
        arms: list[Node] = [("arm", name, arm) for arm in self.arms_of(name)]
        return settings, [("samples", chosen["targets"]), *arms]

    def _figure7(self, name: str) -> tuple[dict, list[Node]]:
        arms: list[Node] = [("arm", name, arm) for arm in self.arms_of(name)]
        samples = ("samples", self.inversion(name)["targets"])
        return {"step": revision("inversion.figures.paper")}, [samples, *arms]

    def _loss(self, name: str) -> tuple[dict, list[Node]]:
        arms: list[Node] = [("arm", name, arm) for arm in self.arms_of(name)]
        return {"step": revision("inversion.figures.loss_curves")}, arms

    def _figure_of_maps(self, name: str) -> tuple[dict, list[Node]]:
        # The maps of the guides on targets and images are computed again, with the same settings.
        settings, inputs = self._arm(name, ARM_WITH_ALL)
        settings |= {"step": revision("inversion.figures.paper")}
        return settings, [*inputs, ("arm", name, ARM_WITH_ALL)]

    _figure4 = _figure5 = _figure6 = _figure_of_maps

    def _animation(self, name: str) -> tuple[dict, list[Node]]:
        chosen = self.inversion(name)
        settings = {
            "step": revision("inversion.figures.animation"),
            "model": self.model(self.first_of(chosen["matches"])),
        }
        return settings, [("samples", chosen["targets"]), ("arm", name, ARM_WITH_ALL)]

    def _edit_figure(self, name: str) -> tuple[dict, list[Node]]:
        edits: list[Node] = [("edit", edit) for edit in self.config["edit_figures"][name]]
        return {"step": revision("editing.figure")}, edits

    def _edit(self, name: str) -> tuple[dict, list[Node]]:
        chosen = self.config["edits"][name]
        mined = chosen["matches"]
        first, others = self.first_of(mined), self.others_of(mined)
        settings = {key: chosen[key] for key in chosen if key not in ("matches", "source")}
        settings |= {"step": revision("editing.edit"), "model": self.model(first)}
        if "mask" in chosen and Path(chosen["mask"]).is_file():
            settings["mask"] = sha256(Path(chosen["mask"]))
        source, *arm = Path(chosen["source"]).parts
        inputs: list[Node] = [("arm", source, *arm) if arm else ("samples", source)]
        inputs += [("concepts", mined)]
        inputs += [("best_buddies", mined, first, other) for other in others]
        return settings, inputs + [("moments", mined, model) for model in (first, *others)]

    def model(self, name: str) -> list:
        """Digests of a model's entry, with the code that builds it, and of its local files.

        What is given by paths is what lies there now, all files of a model, unless the entry says
        which. It is no input of a rule, because its time says little: a copied file keeps that of
        the one it was copied from.
        """
        if name not in self._models:
            entry = find_entry(name, self.config["zoo"])
            weights = entry.weights
            open_to_change = (weights.path or weights.files) and not weights.sha256
            local = sha256_of_weights(name, entry) if open_to_change else None
            self._models[name] = [entry_digest(entry), local]
        return self._models[name]

    # --- targets ----------------------------------------------------------------------------------

    def _nodes_of(self, target: str) -> list[Node]:
        if target in self.targets:
            return self.targets[target]
        file = Path(target).as_posix()
        for kind, template in [*FILES.items(), *BESIDE]:
            names = [template, template.removesuffix(MANIFEST)]
            for pattern in map(_pattern_of, names):
                if match := pattern.fullmatch(file):
                    node = (kind, *match.groups())
                    try:
                        self._identity(node)
                    except (ValueError, KeyError):
                        return []  # Snakemake says that nothing makes it
                    return [node]
        return []

    @cached_property
    def targets(self) -> dict[str, list[Node]]:
        """What the target rules ask for, as far as it has a recipe."""
        name = self.config["sample_set"]
        mined = self.everyone(name)
        inversions, edits = self.guided("inversions"), self.guided("edits")
        tables = [table for table, one in self.config["tables"].items() if one in inversions]
        return {
            "dictionary": [
                ("page", name),
                ("figures", name),
            ],
            "bundle": [("bundle", name)],
            "site": [("site", name)],
            "coverage": [("coverage", name), ("firing", name)],
            "labels": self._labels_shown(name),
            "permutations": [("permutations", name, mined[0], other) for other in mined[1:]],
            "all_parts": [("parts", name, mined[0], other) for other in mined[1:]],
            "inversions": [
                *(("table", table) for table in tables),
                *(("arm", one, arm) for one in inversions for arm in self.arms_of(one)),
                *((file.split(".")[0], one) for one in inversions for file in self.figures_of(one)),
                *([("visualisations", name)] if inversions else []),
            ],
            "interventions": [("intervention", name, one) for one in self.intervened(name)],
            "replication": [("replication", one) for one in self.guided("replications")],
            "edits": [("edit", edit) for edit in edits]
            + [
                ("edit_figure", figure)
                for figure, shown in self.config["edit_figures"].items()
                if set(shown) <= set(edits)
            ],
        }


# Of a sample set, paths on somebody's machine.
PRIVATE = ("photos", "pictures", "labels")
VISUALISED = ("space", "steps", "learning_rate", "alpha", "truncation", "seed", "memory_gb")
# Not of a single arm, or of the sample sets, whose identities count.
NOT_OF_AN_ARM = ("arms", "metrics", "matches", "targets")


def file_of(node: Node) -> str:
    """The file that a rule writes last of an artefact."""
    kind, *wildcards = node
    names = re.findall(r"{(\w+)}", FILES[kind])
    return FILES[kind].format(**dict(zip(names, wildcards, strict=True)))


def _pattern_of(template: str) -> re.Pattern:
    parts = re.split(r"({\w+})", template)
    return re.compile("".join("([^/]+?)" if part[:1] == "{" else re.escape(part) for part in parts))
