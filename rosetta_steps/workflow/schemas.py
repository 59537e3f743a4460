"""The parts of schemas that follow from code: settings of steps, and loaders of the zoo.

workflow/schemas/settings.schema.yaml is made from the dataclasses of steps, so that options, schema
and documentation say the same, loaders.schema.yaml from the table in rosetta_steps.zoo.loaders. A
test compares the files with them.

    python -m rosetta_steps.workflow.schemas     write both files anew
"""

from pathlib import Path

import yaml

from rosetta_steps.config import schema
from rosetta_steps.config.options import schema_of
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.display.settings import Figures
from rosetta_steps.editing.kinds import KINDS
from rosetta_steps.evidence.settings import Evidence
from rosetta_steps.interventions.settings import Interventions
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.labelling.settings import Labelling
from rosetta_steps.maps.settings import Storing
from rosetta_steps.matching.settings import Clustering
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.files import whole_file
from rosetta_steps.zoo.loaders import LOADERS

# Section of the config to its settings, and those that it may leave out.
SECTIONS = {
    "activations": (Storing, ["store"]),
    "correlation": (Correlation, ["scheduler", "slurm_jobs", "workers_per_job"]),
    "evidence": (Evidence, []),
    "labels": (Labelling, ["vocabulary", "model"]),
    "interventions": (Interventions, []),
    "clustering": (Clustering, []),
    "figures": (Figures, []),
    "inversion": (Settings, []),
}
COMMAND = "python -m rosetta_steps.workflow.schemas"


def generated() -> dict[Path, str]:
    """The text of each generated file of workflow/schemas."""
    return {
        schema.SETTINGS: _text(_settings(), "the settings of steps"),
        schema.LOADERS: _text(_loaders(), "rosetta_steps/zoo/loaders.py"),
    }


def _settings() -> dict:
    sections = {name: schema_of(kind, optional) for name, (kind, optional) in SECTIONS.items()}
    forms = sections["inversion"]["properties"]["similarity"]
    kinds = {"enum": list(KINDS), "description": "what is done to the maps"}
    sections["edits"] = {"properties": {"edit": kinds, "similarity": forms}}
    return sections


def _loaders() -> dict:
    # Both roles have a loader `function`, whose architecture is the same.
    architectures = {loader.name: loader.architecture for loader in LOADERS}
    conditions = [
        {
            "if": {"properties": {"loader": {"const": name}}},
            "then": {"properties": {"architecture": {"$ref": f"#/$defs/{name}"}}},
        }
        for name in architectures
    ]
    return {
        "loader": {"enum": list(architectures)},
        "allOf": conditions,
        "$defs": architectures,
    }


def _text(value: dict, source: str) -> str:
    head = f"# Made by `{COMMAND}` from {source}; not to be edited.\n"
    return head + yaml.dump(value, Dumper=_Plain, sort_keys=False, width=100, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice, not as an anchor and an alias."""

    def ignore_aliases(self, data):
        return True


def main() -> None:
    """Command line."""
    for file, text in generated().items():
        with whole_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(file)


if __name__ == "__main__":
    run(main)
