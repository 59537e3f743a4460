"""The fires of the units that a dictionary shows, from sums over images."""

import argparse
from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from rosetta_steps.display.exemplars import Concept, choose_concepts
from rosetta_steps.evidence.firing import Responses, firing
from rosetta_steps.evidence.parts import PAIR
from rosetta_steps.matching.tables import read_dictionary, write_table
from rosetta_steps.runtime.errors import UserError
from rosetta_steps.storage.datasets import open_dataset, open_each
from rosetta_steps.storage.manifests import Provenance, ingredients, read_manifest

KIND = "firing"


def responses(concepts: list[Concept], sums: Mapping[str, xr.Dataset]) -> Iterator[Responses]:
    """Yield what the units that represent each concept give on every image.

    Args:
        concepts: Of a dictionary.
        sums: Sums over images of the generator's best buddies with each model (image_sums), in the
            order of the concepts' models.

    Raises:
        ValueError: A pair of a concept is not among the best buddies.
    """
    places = {
        model: {pair: place for place, pair in enumerate(zip(*columns, strict=True))}
        for model, store in sums.items()
        for columns in [[store[name].values.tolist() for name in PAIR]]
    }
    values = {model: [store[f"sum_{s}"].values for s in "ab"] for model, store in sums.items()}
    for concept in concepts:
        found = []
        for unit in concept.model_units:
            generator = concept.generator_unit
            pair = (generator.layer, generator.channel, unit.layer, unit.channel)
            if pair not in places[unit.model]:
                raise UserError(
                    f"concept {concept.id} has the pair {generator.layer}:{generator.channel} and "
                    f"{unit.model} {unit.layer}:{unit.channel}, of which the sums over images have "
                    "nothing: they are of other best buddies. Make both again."
                )
            found.append([one[places[unit.model][pair]] for one in values[unit.model]])
        of_generator, of_models = np.stack(found, axis=1)
        yield Responses(concept.id, concept.number, of_generator, of_models)


def carry_out(a: argparse.Namespace) -> None:
    """Write the table that a command line asks for."""
    generator, *models = read_manifest(a.table)["models"]
    stores = open_each(open_dataset, a.sums)
    by_model = {str(store.attrs["model_b"]): store for store in stores}
    if absent := [model for model in models if model not in by_model]:
        raise UserError(
            f"{a.table} is of {', '.join(absent)} too, but --sums has only {', '.join(by_model)}."
        )
    concepts = choose_concepts(read_dictionary(a.table), models)
    table = firing(responses(concepts, {model: by_model[model] for model in models}))
    sample_set = read_manifest(a.table)["sample_set"]
    made_of = ingredients([a.table, *a.sums])
    provenance = Provenance(KIND, [generator, *models], sample_set, made_of, a.identity)
    write_table(table, a.output, provenance)
