"""What the pages of a site say, as plain values for its templates and its JSON files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from rosetta_steps.display.exemplars import Concept, Example, Unit
from rosetta_steps.display.page import READ, SENTENCES, SHOWN, heatmap_name, image_name
from rosetta_steps.display.reading import Dictionary, file_label
from rosetta_steps.evidence.partners import YES
from rosetta_steps.evidence.verdicts import failed_badges
from rosetta_steps.matching.identity import unit_name
from rosetta_steps.matching.tables import EVIDENCE, NUMBER

FILE_LETTERS = 24
SMALL_IS_GOOD = {"q", "q_place", "top_positions"}  # of the columns of evidence
BINS = 32  # of a histogram


def slug(name: str) -> str:
    """Return a name as part of an address: other characters as ~ and their code.

    >>> slug("main.8:17"), slug("relu#1:3"), slug("a/b:0")
    ('main.8-17', 'relu~231-3', 'a~2fb-0')
    """
    layer, _, channel = name.rpartition(":")
    return f"{_safe(layer)}-{channel}" if layer else channel


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", lambda found: f"~{ord(found[0]):02x}", name)


def address_of_concept(name: str) -> str:
    """Return the path of a concept's page in the site."""
    return f"concepts/{slug(name)}.html"


def address_of_unit(unit: Unit) -> str:
    """Return the path of a unit's page in the site."""
    return f"units/{unit.model}/{slug(unit_name(unit.layer, unit.channel))}.html"


def address_of_layer(model: str, layer: str) -> str:
    """Return the path of a layer's page in the site."""
    return f"layers/{model}/{_safe(layer)}.html"


def address_of_image(index: int) -> str:
    """Return the path of an image's page in the site."""
    return f"images/{index:05d}.html"


def units_of(dictionary: Dictionary) -> dict[Unit, list[int]]:
    """Every unit of a dictionary, and the ranks of the concepts that it belongs to."""
    found: dict[Unit, dict[int, None]] = {}
    for row in dictionary.table.itertuples(index=False):
        for unit in (
            Unit(row.generator, row.generator_layer, row.generator_channel),
            Unit(row.model, row.layer, row.channel),
        ):
            found.setdefault(unit, {})[row.concept] = None
    return {unit: list(ranks) for unit, ranks in found.items()}


class Content:
    """What a site says of a dictionary.

    Args:
        dictionary: The opened inputs of the page.
        examples: Of each concept, by its rank.
        partners: Model to the partners of its units with the generator.
        coverage: How much of each layer is shared.
        maxima: Maximum over positions of the dictionary's units whose maps are there, (image).
    """

    def __init__(
        self,
        dictionary: Dictionary,
        examples: Mapping[int, Sequence[Example]],
        partners: Mapping[str, pd.DataFrame],
        coverage: pd.DataFrame,
        maxima: Mapping[Unit, np.ndarray],
    ):
        self.dictionary, self.examples = dictionary, examples
        self.partners, self.coverage, self.maxima = partners, coverage, maxima

    @cached_property
    def concepts(self) -> list[dict]:
        """A concept each: id, rank, address, units that represent it, numbers, pictures, pairs."""
        return [self._concept(concept) for concept in self.dictionary.concepts]

    def _concept(self, concept: Concept) -> dict:
        shown = [self._shown(concept, place) for place in range(len(concept.units))]
        pairs = [self._pair(row) for row in concept.members.itertuples(index=False)]
        tested = [pair for pair in pairs if pair["verdict"]]
        failed = sorted({badge for one in shown for badge in one["failed"]})
        return {
            "id": concept.id,
            "rank": concept.number,
            "address": address_of_concept(concept.id),
            "strength": concept.strength,
            "units": concept.generator_units,
            "pairs": len(pairs),
            "passing": sum(not pair["failed"] for pair in tested),
            "failed": failed,
            "name": next((one["name"] for one in shown if one["name"]), ""),
            "shown": shown,
            "evidence": self._weakest(concept),
            "members": pairs,
            "rows": self._rows(concept),
            "words": " ".join(self._words(concept)).lower(),
        }

    def _shown(self, concept: Concept, place: int) -> dict:
        unit = concept.units[place]
        verdict = self.dictionary.verdicts.get((concept.generator_unit, unit), "")
        return self.unit(unit) | {
            "r": concept.correlations[place - 1] if place else None,
            "verdict": verdict.partition(":")[0],
            "failed": failed_badges(verdict),
        }

    @cached_property
    def columns(self) -> dict[str, str]:
        """Columns of the evidence that were computed, and their titles."""
        numbers = [column for column, kind in EVIDENCE.items() if kind == NUMBER]
        tables = self.dictionary.evidence.values()
        there = [c for c in numbers if any(table[c].notna().any() for table in tables)]
        return {column: SHOWN.get(column, column.replace("_", " ")) for column in there}

    def _weakest(self, concept: Concept) -> dict[str, float | None]:
        """Each column of the evidence, of the pair shown for which it is worst."""
        own, found = concept.generator_unit, self.dictionary.evidence_of_pairs
        rows = [found[own, unit] for unit in concept.model_units if (own, unit) in found]
        weakest = {}
        for column in self.columns:
            values = [row[column] for row in rows if row[column] == row[column]]
            worst = max if column in SMALL_IS_GOOD else min
            weakest[column] = worst(values) if values else None
        return weakest

    def unit(self, unit: Unit) -> dict:
        """A unit: model, layer, channel, its plain name if it has one, and its page."""
        return {
            "model": unit.model,
            "layer": unit.layer,
            "channel": int(unit.channel),
            "unit": unit_name(unit.layer, unit.channel),
            "name": self.dictionary.names.get(unit, ""),
            "address": address_of_unit(unit) if unit in self.units_of_concepts else "",
        }

    def _pair(self, row) -> dict:
        own = Unit(row.generator, row.generator_layer, row.generator_channel)
        other = Unit(row.model, row.layer, row.channel)
        found = self.dictionary.evidence_of_pairs.get((own, other), {})
        verdict = str(found.get("verdict", ""))
        numbers = {column: found.get(column) for column in self.columns}
        return {
            "own": self.unit(own),
            "other": self.unit(other),
            "r": float(row.correlation),
            "evidence": {key: _number(value) for key, value in numbers.items()},
            "verdict": verdict.partition(":")[0],
            "failed": failed_badges(verdict),
        }

    def _rows(self, concept: Concept) -> list[dict]:
        files = self.dictionary.files
        return [
            {
                "group": example.group,
                "reads": READ[example.group],
                "image": example.image,
                "file": file_label(files[example.image], FILE_LETTERS) if files else "",
                "rank": example.rank,
                "peak": example.peak,
                "picture": image_name(example.image),
                "page": address_of_image(example.image),
                "heatmaps": [
                    heatmap_name(concept, column, example.image)
                    for column in range(len(concept.units))
                ],
            }
            for example in self.examples[concept.number]
        ]

    def _words(self, concept: Concept) -> Iterable[str]:
        words = dict.fromkeys([concept.id, f"rank-{concept.number}"])
        for pair in concept.members.itertuples(index=False):
            own = unit_name(pair.generator_layer, pair.generator_channel)
            words[f"{pair.generator}:{own}"] = None
            unit = Unit(pair.generator, pair.generator_layer, pair.generator_channel)
            words[self.dictionary.names.get(unit, "")] = None
            words[f"{pair.model}:{unit_name(pair.layer, pair.channel)}"] = None
            words[self.dictionary.names.get(Unit(pair.model, pair.layer, pair.channel), "")] = None
        return words

    @cached_property
    def units_of_concepts(self) -> dict[Unit, list[int]]:
        """Every unit of the dictionary, and the ranks of the concepts that it belongs to."""
        return units_of(self.dictionary)

    def unit_pages(self) -> Iterable[dict]:
        """Every unit of the dictionary: concepts, nearest partner in each model, best buddies."""
        by_rank = {one["rank"]: one for one in self.concepts}
        nearest = self._nearest
        buddies: dict[Unit, list[dict]] = {}
        for concept in self.concepts:
            for pair in concept["members"]:
                for mine, other in (("own", "other"), ("other", "own")):
                    unit = Unit(*(pair[mine][key] for key in ("model", "layer", "channel")))
                    buddies.setdefault(unit, []).append({**pair, "with": pair[other]})
        for unit, ranks in self.units_of_concepts.items():
            own = sorted(buddies[unit], key=lambda pair: -pair["r"])
            yield self.unit(unit) | {
                "concepts": [by_rank[rank] for rank in ranks if rank in by_rank],
                "nearest": nearest.get(unit, []),
                "buddies": own,
                "histogram": self._histogram(unit),
                "layer_address": address_of_layer(unit.model, unit.layer),
            }

    def _histogram(self, unit: Unit) -> dict | None:
        """How many images have a maximum in each bin, as shares of the fullest."""
        values = self.maxima.get(unit, np.empty(0))
        values = values[np.isfinite(values)]
        if not len(values):
            return None
        counts, edges = np.histogram(values, BINS)
        return {
            "bars": [float(share) for share in counts / counts.max()],
            "low": float(edges[0]),
            "high": float(edges[-1]),
            "median": float(np.median(values)),
        }

    @cached_property
    def _nearest(self) -> dict[Unit, list[dict]]:
        found: dict[Unit, list[dict]] = {}
        generator = self.dictionary.generator
        for model, table in self.partners.items():
            there = table.dropna(subset="correlation")
            for row in there.itertuples(index=False):
                unit = Unit(row.model, row.layer, row.channel)
                if unit not in self.units_of_concepts:
                    continue
                other = model if row.model == generator else generator
                partner = Unit(other, row.partner_layer, int(row.partner_channel))
                found.setdefault(unit, []).append(
                    {
                        "with": self.unit(partner),
                        "r": float(row.correlation),
                        "best_buddy": row.best_buddy == YES,
                    }
                )
        return found

    @cached_property
    def models(self) -> list[dict]:
        """Generator and models: their layers with what is shared, and their units in concepts."""
        found = []
        for name in dict.fromkeys(self.coverage["model"]):
            own = self.coverage[self.coverage["model"] == name]
            layers = own[own["at_least"] == 1]
            units: dict[str, list[dict]] = {}
            for unit in self.units_of_concepts:
                if unit.model == name:
                    units.setdefault(unit.layer, []).append(self.unit(unit))
            found.append(
                {
                    "name": name,
                    "address": f"models/{name}.html",
                    "is_first": name == self.dictionary.generator,
                    "layers": [
                        {
                            "layer": row.layer,
                            "address": address_of_layer(name, row.layer),
                            "units": int(row.units),
                            "silent": int(row.silent),
                            "shared": int(row.shared),
                            "passing": int(row.passing),
                            "by_chance": _number(row.by_chance),
                            "of_concepts": sorted(
                                units.get(row.layer, []), key=lambda unit: unit["channel"]
                            ),
                        }
                        for row in layers.itertuples(index=False)
                    ],
                }
            )
        return found

    @property
    def badges(self) -> dict[str, str]:
        """The tests that some concept fails, and the objection that each answers."""
        failed = {badge for one in self.concepts for badge in one["failed"]}
        return {badge: text for badge, text in SENTENCES.items() if badge in failed}

    def data(self) -> dict[str, list[dict]]:
        """The contents of the JSON files of the site, by their names."""
        kept = ("strength", "units", "pairs", "passing", "failed", "name", "address")
        return {
            "concepts": [
                {"concept_id": one["id"], "concept": one["rank"]}
                | {key: one[key] for key in kept}
                | {
                    "shown": [
                        {key: unit[key] for key in ("model", "layer", "channel", "verdict")}
                        | {"correlation": unit["r"]}
                        for unit in one["shown"]
                    ]
                }
                for one in self.concepts
            ],
            "pairs": [
                {
                    "concept_id": one["id"],
                    "concept": one["rank"],
                    "generator_layer": pair["own"]["layer"],
                    "generator_channel": pair["own"]["channel"],
                    "model": pair["other"]["model"],
                    "layer": pair["other"]["layer"],
                    "channel": pair["other"]["channel"],
                    "correlation": pair["r"],
                    "verdict": pair["verdict"],
                    "failed": pair["failed"],
                    **pair["evidence"],
                }
                for one in self.concepts
                for pair in one["members"]
            ],
            "coverage": self.coverage.astype(object)
            .where(self.coverage.notna(), None)
            .to_dict("records"),  # fmt: skip
        }


def _number(value) -> float | None:
    return None if value is None or value != value else float(value)
