"""Pages of layers: every unit, in the dictionary or not, with its nearest partners."""

from collections.abc import Iterator

import pandas as pd

from rosetta_steps.display.exemplars import Unit
from rosetta_steps.evidence.partners import YES
from rosetta_steps.website.content import Content, address_of_layer


def layer_pages(content: Content) -> Iterator[dict]:
    """A page a layer of the generator, with the models that are shown, and of every model."""
    generator = content.dictionary.generator
    for model in (generator, *content.partners):
        others = content.dictionary.models if model == generator else [generator]
        tables = {
            other: _of_model(content.partners[other if model == generator else model], model)
            for other in others
        }
        for layer in dict.fromkeys(tables[others[0]]["layer"]):
            own = {other: table[table["layer"] == layer] for other, table in tables.items()}
            yield {
                "model": model,
                "layer": layer,
                "address": address_of_layer(model, layer),
                "others": others,
                "units": _units(content, model, own),
            }


def _of_model(partners: pd.DataFrame, model: str) -> pd.DataFrame:
    return partners[partners["model"] == model]


def _units(content: Content, model: str, tables: dict[str, pd.DataFrame]) -> list[dict]:
    """Units of a layer, each with its partner in every other model."""
    rows = zip(*(table.itertuples(index=False) for table in tables.values()), strict=True)
    found = []
    for partners in rows:
        unit = Unit(model, partners[0].layer, partners[0].channel)
        found.append(
            content.unit(unit)
            | {
                "concepts": content.units_of_concepts.get(unit, []),
                "partners": [
                    _partner(content, other, row)
                    for other, row in zip(tables, partners, strict=True)
                ],
            }
        )
    return found


def _partner(content: Content, other: str, row) -> dict | None:
    if row.correlation != row.correlation:
        return None  # it never varies
    unit = Unit(other, row.partner_layer, int(row.partner_channel))
    return content.unit(unit) | {
        "r": float(row.correlation),
        "best_buddy": row.best_buddy == YES,
        "passes": row.passes == YES,
    }
