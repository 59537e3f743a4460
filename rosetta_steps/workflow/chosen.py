"""What a config says of sample sets, inversions, tables and edits."""

import sys
from pathlib import Path

from rosetta_steps.config.names import split_untrained, untrained_name
from rosetta_steps.inversion.metrics import networks_among
from rosetta_steps.maps.settings import ALL, MATCHED
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.stimuli.image_files import matched_files
from rosetta_steps.stimuli.picture_list import read_list
from rosetta_steps.workflow.examples import where_to_find
from rosetta_steps.zoo.entries import find_entry, has_weights

ARM_WITHOUT, ARM_WITH_ALL, EACH = "reconstruction", "all", "each"
# Sections of things that a config names, and what one of each is called.
NAMED = {
    "sample_sets": "sample set",
    "inversions": "inversion",
    "tables": "table",
    "edits": "edit",
    "edit_figures": "figure",
    "replications": "replication",
}
# Key that names the sample set whose matches are taken, where it is not `matches`.
MINED_BY = {"replications": "mined"}


class Chosen:
    """A checked config.

    Args:
        config: As Snakemake has read it.
    """

    def __init__(self, config: dict):
        self.config = config

    # --- sample sets ------------------------------------------------------------------------------

    def sample_set(self, name: str) -> dict:
        """Settings of a sample set.

        Raises:
            ValueError: There is none of this name.
        """
        return self.known("sample_sets", name)

    def known(self, section: str, name: str) -> dict:
        """What a section of the config says of a name.

        Raises:
            ValueError: Nothing; the nearest names are given.
        """
        names = self.config[section]
        if name not in names:
            raise UserError(
                f"no {NAMED[section]} '{name}' in config/config.yaml. "
                f"{where_to_find(section, name, list(names))}"
            )
        return names[name]

    def everyone(self, name: str) -> list[str]:
        """Generator and models of a sample set; of photos, the first model is in its place.

        Raises:
            ValueError: It is not mined.
        """
        chosen = self.sample_set(name)
        if "models" not in chosen:
            mined = (n for n, c in self.config["sample_sets"].items() if "models" in c)
            raise UserError(
                f"sample set {name} is not mined: it has no models. Give it models and layers, or "
                f"take another: {', '.join(mined)}."
            )
        generator = [chosen["generator"]] if "generator" in chosen else []
        return generator + chosen["models"]

    def first_of(self, name: str) -> str:
        """The model by whose units the dictionary of a sample set is grouped: the generator."""
        return self.everyone(name)[0]

    def others_of(self, name: str) -> list[str]:
        """The models in which its units must have buddies."""
        return self.everyone(name)[1:]

    def store_of(self, name: str) -> str:
        """Which maps of a sample set are kept: all, or those of matched units."""
        kept = self.config["activations"].get("store", ALL)
        return self.known("sample_sets", name).get("store", kept)

    def runs(self, name: str) -> bool:
        """Whether the models of a sample set run where their maps are needed, and none is read."""
        return self.store_of(name) == MATCHED

    def runs_model(self, name: str, model: str) -> bool:
        """Whether a model of a sample set runs where its maps are needed, as untrained ones do."""
        return is_untrained(model) or self.runs(name)

    def untrained_of(self, name: str, model: str) -> list[str]:
        """Untrained copies of a model that a sample set compares it with; none without weights."""
        copies = self.known("sample_sets", name).get("untrained", 0)
        if (
            not copies
            or is_untrained(model)
            or not has_weights(find_entry(model, self.config["zoo"]))
        ):
            return []
        return [untrained_name(model, seed) for seed in range(copies)]

    def photos(self, name: str) -> list[str]:
        """Folder or globs of a sample set of photos."""
        chosen = self.sample_set(name)["photos"]
        return chosen if isinstance(chosen, list) else [chosen]

    def images_of(self, name: str) -> int:
        """Number of images of a sample set, as far as it is known before photos are opened."""
        chosen = self.sample_set(name)
        if "pictures" in chosen:
            return len(read_list(chosen["pictures"]))
        if "photos" not in chosen:
            return chosen["images"]
        found = matched_files(self.photos(name))[1]
        folders = len({Path(file).parent for file in found})
        of_classes = chosen.get("images_per_class", sys.maxsize) * folders
        return min(len(found), of_classes, chosen.get("images", sys.maxsize))

    def neighbours_kept(self, a: str, b: str) -> int:
        """Partners that are kept of each unit; 0: the whole table, which the clustering needs."""
        whole = self.config["correlation"]["keep"] == "table" or a == b
        if is_untrained(b):  # of which nothing but best buddies is asked
            whole = self.config["correlation"]["splits"] > 1
        return 0 if whole else self.config["neighbours"]

    def decoys(self, a: str, b: str) -> int:
        """Number of decoys of a table; none of a generator's with itself, which makes clusters."""
        return 0 if a == b else self.config["correlation"]["decoys"]

    def buddies_of(self, name: str, model: str) -> list[tuple[str, str]]:
        """Pairs whose best buddies a model of a sample set is in, but for those with itself."""
        first = self.first_of(name)
        others = self.others_of(name) if model == first else [model]
        return [(first, other) for other in others]

    def guided(self, kind: str) -> list[str]:
        """Inversions, edits or replications of what is mined on the sample set asked for."""
        asked, key = self.config["sample_set"], MINED_BY.get(kind, "matches")
        return [name for name, one in self.config[kind].items() if one[key] == asked]

    def label_sources(self, name: str) -> list[str]:
        """Kinds of artefacts with labels of the images of a sample set; none if none are given."""
        own = ["own_scores"] if "labels" in self.sample_set(name) else []
        return own + (["word_scores"] if "vocabulary" in self.config["labels"] else [])

    def intervened(self, name: str) -> list[str]:
        """Models whose matches are put to the causal check; none where no generator is mined."""
        mined = "generator" in self.sample_set(name)
        return self.others_of(name) if mined else []

    # --- replications -----------------------------------------------------------------------------

    def replication(self, name: str) -> dict:
        """Settings of a replication.

        Raises:
            ValueError: There is none of this name.
        """
        return self.known("replications", name)

    def compared_with(self, name: str) -> dict[str, str]:
        """What the best buddies of a replication are looked for on: comparison to sample set.

        A confirming sample set that differs from the mined one by its seed is the reference itself.
        """
        chosen = self.replication(name)
        mined, confirmed = chosen["mined"], chosen["confirmed"]
        reference = chosen.get("reference")
        if reference == confirmed or (
            reference is None and self.distribution(mined) == self.distribution(confirmed)
        ):
            return {"reference": confirmed}
        found = {"confirmation": confirmed}
        return found if reference is None else found | {"reference": reference}

    def distribution(self, name: str) -> dict:
        """What the images of a sample set are drawn from: all of its origin but seed and number."""
        chosen = self.known("sample_sets", name)
        classes = chosen.get("class", [])
        own = {key: chosen[key] for key in ("generator", "photos", "pictures") if key in chosen}
        return own | {
            "class": classes if isinstance(classes, list) else [classes],
            "truncation": chosen.get("truncation", 1),
            "latent_bound": chosen.get("latent_bound"),
        }

    # --- inversions -------------------------------------------------------------------------------

    def inversion(self, name: str) -> dict:
        """Settings of an inversion: its own, over those that all share.

        Raises:
            ValueError: There is none of this name.
        """
        return self.config["inversion"] | self.known("inversions", name)

    def arms_of(self, name: str) -> list[str]:
        """Arms of an inversion: what guides it."""
        arms = []
        for arm in self.inversion(name)["arms"]:
            each = self.others_of(self.inversion(name)["matches"]) if arm == EACH else [arm]
            arms += [one for one in each if one not in arms]
        return arms

    def guides(self, name: str, arm: str) -> list[str]:
        """Models whose matches guide an arm."""
        if arm == ARM_WITHOUT:
            return []
        return self.others_of(self.inversion(name)["matches"]) if arm == ARM_WITH_ALL else [arm]

    def networks_of(self, name: str, arm: str) -> list[str]:
        """Models of the zoo that take part in an arm: generator, guides, perceptual network."""
        chosen = self.inversion(name)
        names = {self.first_of(chosen["matches"]), *self.guides(name, arm)}
        if chosen["reconstruction"] == "perceptual":
            names.add(chosen["perceptual_network"])
        return sorted(names)

    def figures_of(self, name: str) -> list[str]:
        """Figures and animations of an inversion, by the names of their files."""
        chosen, arms = self.inversion(name), self.arms_of(name)
        of_targets = "figure6" if "class" in chosen else "figure5"
        if chosen["reconstruction"] != "none":
            of_targets = "figure4"
        figures = ["loss.png"]
        figures += ["figure7.png"] if len(arms) > 1 else []
        figures += [f"{of_targets}.png"] if ARM_WITH_ALL in arms else []
        figures += ["animation.webp"] if ARM_WITH_ALL in arms and chosen["frames"] else []
        return figures

    def networks_of_metrics(self, name: str) -> list[str]:
        """Models of the zoo that measure a perceptual distance of an inversion."""
        return networks_among(self.inversion(name)["metrics"])


def is_untrained(model: str) -> bool:
    """Whether a name is that of an untrained copy."""
    return split_untrained(model)[1] is not None
