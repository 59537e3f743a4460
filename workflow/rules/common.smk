"""What the rules share: the checked config, and the module that says what they take."""

from snakemake.exceptions import WorkflowError

from rosetta_steps.workflow.checking import Checked, settled
from rosetta_steps.maps.settings import MATCHED
from rosetta_steps.workflow.needed import Needs
from rosetta_steps.workflow.rules import DUMPED, Rules, manifests_of, names, stores, words_of
from rosetta_steps.workflow.words import braced


wildcard_constraints:
    sample_set=r"[^/]+",
    model=r"[^/]+?",
    replication=r"[^/]+",
    first=r"[^/]+",
    second=r"[^/]+",
    a=r"[^/]+?",
    b=r"[^/]+?",


# A typo ends here, not in a job. What null takes away is gone from here on.
try:
    settled_config = settled(config, ORIGINS)
    config.clear()
    config.update(settled_config)
    CHECKED = Checked(config, ORIGINS)
    if workflow.is_main_process:  # and not again in each job of a cluster
        CHECKED.everything()
except ValueError as error:
    raise WorkflowError(str(error)) from None

RULES = Rules(config, CHECKED)
NEEDS = Needs(
    RULES,
    workflow.cores,
    # Which executor runs the jobs is not known yet; one on other machines is told how many at a time.
    here=workflow.is_main_process and workflow.resource_settings.nodes is None,
    asked=lambda: targets_of(workflow.dag_settings),
)


def identity(kind):
    """What an artefact follows from, as a parameter of its rule: see rosetta_steps.workflow."""
    return lambda wildcards: RULES.identity(kind, wildcards)


def stale(targets):
    """What is missing on the way to some targets, or follows from something else than the config."""
    try:
        return RULES.stale(targets)
    except ValueError as error:
        raise WorkflowError(str(error)) from None
