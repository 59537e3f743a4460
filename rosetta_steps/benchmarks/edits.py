"""Does an edit remove a concept and leave the others alone? (section 4.2 of the paper)

The strongest concepts of a dictionary are removed, one at a time, each on that image of a fresh
sample of the generator on which its units fire most. Of every edit:

  lowered     1 - mean after / mean before, of heights above the map's least value before, median
              over the units of the concept
  others      correlation of a map after with that before, median over all generator units of other
              concepts in the dictionary
  seen        the same drop in the models' units that the dictionary pairs with the concept, on the
              images before and after: whether the concept went from the picture, for eyes that the
              optimisation never asked. Height is above the unit's least value over the dataset.

and the last two likewise for the direct edit, which replaces the maps in the running generator.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from rosetta_steps.config.options import add_options, options_from
from rosetta_steps.editing.editor import Editor, units_to_edit
from rosetta_steps.editing.edits import Edit
from rosetta_steps.editing.kinds import KINDS
from rosetta_steps.editing.settings import DEFAULTS, KEEP
from rosetta_steps.editing.sources import Source
from rosetta_steps.inversion.arguments import add_match_arguments
from rosetta_steps.inversion.choices import UNIT, units_of_concepts, units_of_matches
from rosetta_steps.inversion.matches import matches_from, open_moments
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.matching.tables import read_dictionary, write_table
from rosetta_steps.runtime.devices import lease
from rosetta_steps.runtime.errors import run
from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.generators.latents import latent
from rosetta_steps.zoo.loading import load
from rosetta_steps.zoo.weights import weights_file


class Bench:
    """A generator, its dictionary, and fresh images to edit.

    Args:
        name: Of the generator.
        zoo: File with the entries.
        matches: Whose units are kept.
        table: As rosetta.csv.
        moments: Stores by model.
        seed: Of the images: another than that which was mined.
        images: How many.
    """

    def __init__(
        self,
        name: str,
        zoo: str,
        matches: pd.DataFrame,
        table: pd.DataFrame,
        moments: dict[str, Path],
        *,
        seed: int,
        images: int,
    ):
        device = lease()
        entry = find_entry(name, zoo)
        self.generator = load(name, entry, weights_file(name, entry), device)
        self.table, self.matched = table, units_of_matches(matches)
        self.moments = {model: open_moments(path, model) for model, path in moments.items()}
        components = self.generator.latent_size
        bound = self.generator.latent_bound
        z = torch.tensor(np.stack([latent(seed, i, components, bound) for i in range(images)]))
        classes = self.generator.classes
        labels = torch.arange(images) % classes if classes else None
        self.source = Source(z, labels, "z", 1.0, list(range(images)))
        layers = list(dict.fromkeys(table["generator_layer"]))
        self.maps = self.generator.activations(z, layers, labels)
        found = self.generator.layers([f"module:{layer}" for layer in layers])
        self.order = {layer.name: place for place, layer in enumerate(found)}
        self.models = {}
        for model in dict.fromkeys(table["model"]):
            entry = find_entry(model, zoo)
            self.models[model] = load(model, entry, weights_file(model, entry), device)

    def image_of(self, concept: str) -> int:
        """The image on which a concept's units fire most: mean map over the unit's deviation."""
        units = units_of_concepts([concept], self.table, self.generator.name)
        of_units = [self.maps[one.layer][:, one.channel].mean((1, 2)) for one in units.itertuples()]
        means = torch.stack(of_units).float()
        return int((means / means.std(1, keepdim=True)).sum(0).argmax())

    def remove(self, concept: str, settings: Settings, keep: float) -> tuple[dict, dict]:
        """Remove a concept where it fires most.

        Returns:
            A row of figures, and the images before, after and direct, (rgb, y, x) each.
        """
        edited = units_of_concepts([concept], self.table, self.generator.name)
        units = units_to_edit(edited, self.matched, keep, units_of_matches(self.table))
        editor = Editor(
            self.generator,
            self.moments[self.generator.name],
            units,
            Edit("remove"),
            settings=settings,
            start="source",
        )
        image = self.image_of(concept)
        arrays, table = editor.apply(self.source.part(np.array([image])))
        own = table[table["edited"]]
        own = own[own["mean_before"] > own["mean_target"]]  # those that fire there
        lowered = (own["mean_before"] - own["mean_after"]) / (
            own["mean_before"] - own["mean_target"]
        )
        dictionary = units_of_matches(self.table)
        others = table.merge(dictionary, on=UNIT)
        others = others[~others["edited"]]
        free = others[others["weight"] == 0]
        later = others[others["layer"].map(self.order) > own["layer"].map(self.order).min()]
        row = {
            "concept": concept,
            "image": image,
            "units": len(edited),
            "lowered": lowered.median(),
            "moved": own["moved"].median(),
            "others": others["correlation_before"].median(),
            "others_not_kept": free["correlation_before"].median(),
            "others_direct": others["correlation_direct"].median(),
            "later": later["correlation_before"].median(),
            "later_direct": later["correlation_direct"].median(),
            "pixels": np.abs(arrays["after"] - arrays["before"]).mean(),
            "pixels_direct": np.abs(arrays["direct"] - arrays["before"]).mean(),
        }
        pictures = np.concatenate([arrays[name] for name in ("before", "after", "direct")])
        seen, seen_direct = self.seen(concept, torch.from_numpy(pictures))
        return row | {"seen": seen, "seen_direct": seen_direct}, arrays

    def seen(self, concept: str, pictures: torch.Tensor) -> tuple[float, float]:
        """Median drop of the models' units of a concept, after and in the direct edit.

        Args:
            concept: Its id.
            pictures: Before, after, direct; (3, rgb, y, x) in [0, 1].
        """
        buddies = self.table[self.table["concept_id"] == concept]
        buddies = buddies[["model", "layer", "channel"]].drop_duplicates()
        drops = []
        for model, rows in buddies.groupby("model"):
            with torch.inference_mode():
                maps = self.models[model].activations(pictures, list(rows["layer"].unique()))
            for row in rows.itertuples():
                least = float(self.moments[model][row.layer]["minimum"][row.channel])
                before, *rest = (maps[row.layer][:, row.channel].mean((1, 2)) - least).tolist()
                if before > 0:
                    drops.append([1 - mean / before for mean in rest])
        return tuple(np.median(drops, axis=0)) if drops else (np.nan, np.nan)


def words(table: pd.DataFrame) -> str:
    """The figures of some edits, as medians with quartiles."""

    def of(name: str) -> str:
        low, middle, high = table[name].quantile([0.25, 0.5, 0.75])
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"

    return "\n".join(
        [
            f"{len(table)} concepts removed; medians over edits (and quartiles)",
            f"  maps of the concept lowered by {of('lowered')}, moved {of('moved')} of the way",
            f"  correlation of other concepts' maps with before {of('others')}; of those that the "
            f"objective does not know {of('others_not_kept')}",
            f"  the same under the direct edit {of('others_direct')}, which leaves all maps of the "
            f"edited layer and before it alone; in later layers {of('later_direct')}, and "
            f"{of('later')} by optimising",
            f"  drop in the models' units of the concept {of('seen')}; under the direct edit "
            f"{of('seen_direct')}",
            f"  mean change of a pixel {of('pixels')}; under the direct edit {of('pixels_direct')}",
            f"  edits that lower by half and keep 0.8: "
            f"{int(((table['lowered'] >= 0.5) & (table['others'] > 0.8)).sum())} of {len(table)}",
        ]
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_match_arguments(parser)
    parser.add_argument("--table", type=Path, required=True, help="rosetta.csv")
    parser.add_argument("--edits", type=int, default=20, help="default %(default)s")
    parser.add_argument("--images", type=int, default=64, help="drawn, default %(default)s")
    parser.add_argument("--images-seed", type=int, default=1, help="default %(default)s")
    parser.add_argument("--keep", type=float, default=KEEP, help="default %(default)s")
    parser.add_argument("--output", type=Path, help="table of all edits, CSV")
    add_options(parser, Settings, similarity=KINDS["remove"].similarity, **DEFAULTS)
    a = parser.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    matches, moments = matches_from(a)
    table = read_dictionary(a.table)
    bench = Bench(a.generator, a.zoo, matches, table, moments, seed=a.images_seed, images=a.images)
    concepts = list(dict.fromkeys(table["concept_id"]))[: a.edits]
    rows = [bench.remove(concept, options_from(a, Settings), a.keep)[0] for concept in concepts]
    found = pd.DataFrame(rows)
    print(found.round(3).to_string(index=False))
    print(words(found))
    if a.output:
        write_table(found, a.output)


if __name__ == "__main__":
    run(main)
