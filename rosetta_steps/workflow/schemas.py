"""The part of the config's schema that follows from the settings of steps.

workflow/schemas/settings.schema.yaml is made from their dataclasses, so that options, schema and
documentation say the same. A test compares the file with them.

    python -m rosetta_steps.workflow.schemas     write the file anew
"""

import yaml

from rosetta_steps.config.options import schema_of
from rosetta_steps.config.schema import SETTINGS
from rosetta_steps.correlation.settings import Correlation
from rosetta_steps.display.settings import Figures
from rosetta_steps.editing.kinds import KINDS
from rosetta_steps.inversion.settings import Settings
from rosetta_steps.maps.settings import Storing
from rosetta_steps.matching.settings import Clustering
from rosetta_steps.runtime.errors import run
from rosetta_steps.storage.files import whole_file

# Section of the config to its settings, and those that it may leave out.
SECTIONS = {
    "activations": (Storing, ["store"]),
    "correlation": (Correlation, ["scheduler"]),
    "clustering": (Clustering, []),
    "figures": (Figures, []),
    "inversion": (Settings, []),
}
COMMAND = "python -m rosetta_steps.workflow.schemas"


def generated() -> str:
    """The text of workflow/schemas/settings.schema.yaml."""
    sections = {name: schema_of(kind, optional) for name, (kind, optional) in SECTIONS.items()}
    forms = sections["inversion"]["properties"]["similarity"]
    kinds = {"enum": list(KINDS), "description": "what is done to the maps"}
    sections["edits"] = {"properties": {"edit": kinds, "similarity": forms}}
    head = f"# Made by `{COMMAND}` from the settings of steps; not to be edited.\n"
    return head + yaml.dump(sections, Dumper=_Plain, sort_keys=False, width=100, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice, not as an anchor and an alias."""

    def ignore_aliases(self, data):
        return True


def main() -> None:
    """Command line."""
    with whole_file(SETTINGS) as temporary:
        temporary.write_text(generated(), encoding="utf-8")
    print(SETTINGS)


if __name__ == "__main__":
    run(main)
