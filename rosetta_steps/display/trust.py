"""The page "How far to trust this dictionary": how much of it survives each test."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

import pandas as pd

from rosetta_steps.display.untrained import untrained_section
from rosetta_steps.evidence.agreement import LEVEL, models_that_hold
from rosetta_steps.evidence.survival import ALL, models_that_agree, passed_untested, survival
from rosetta_steps.evidence.verdicts import TESTS

TRUST = "trust.html"  # beside the page of the dictionary
TEMPLATE = Path(__file__).with_name("trust.html")
NOTHING = "<p>There are no best buddies, so there is nothing to test.</p>"


def trust_page(
    generator: str,
    evidence: Mapping[str, pd.DataFrame],
    dictionary: pd.DataFrame,
    *,
    of_units: Mapping[str, pd.DataFrame] | None = None,
    untrained: Mapping[str, pd.DataFrame] | None = None,
) -> str:
    """Return the HTML of the page.

    Args:
        generator: Name of the generator.
        evidence: Evidence of its best buddies with each model.
        dictionary: rosetta.csv.
        of_units: Its units against chance, for each model.
        untrained: Best buddies with each model beside those with its untrained copies.
    """
    body = (
        _body(evidence, dictionary, of_units or {}, untrained or {})
        if sum(map(len, evidence.values()))
        else NOTHING
    )
    title = f"How far to trust this dictionary of {generator}"
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=escape(title), body=body)


def _body(
    evidence: Mapping[str, pd.DataFrame],
    dictionary: pd.DataFrame,
    of_units: Mapping[str, pd.DataFrame],
    untrained: Mapping[str, pd.DataFrame],
) -> str:
    counts = survival(evidence, dictionary)
    listed = {
        "pairs": sum(map(len, evidence.values())),
        "units": len(dictionary[["generator_layer", "generator_channel"]].drop_duplicates()),
        "concepts": dictionary["concept"].nunique(),
    }
    total = counts.iloc[-1]
    rows = "\n".join(_row(row, listed) for row in counts.itertuples(index=False))
    missing = [test.badge for test in TESTS if test.badge not in set(counts["badge"])]
    return f"""<p class="headline">Of {listed["pairs"]} best buddies {total.pairs} pass every test
that was made. They hold {total.units} of {listed["units"]} Rosetta units and {total.concepts} of
{listed["concepts"]} concepts.</p>
{_not_fully_tested(evidence)}
<p>Each test answers one objection; none answers them all. A Rosetta unit survives a test if in
every model one of its best buddies passes, a concept if one of its units does.</p>
<h2>What survives each test</h2>
<div class="scroll"><table>
<thead><tr><th>a pair that fails is</th><th>the objection</th><th>pairs</th><th>units</th>
<th>concepts</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
<p class="soft">Not made: {escape(", ".join(missing)) or "none"}.</p>
{_by_r_alone(evidence)}
{_models_section(evidence, of_units)}
{untrained_section(untrained)}
<h2>What no test here says</h2>
<p>That two units share a <i>concept</i> in a person's sense, that one causes the other, or that
other images would show the same. For these, look at the exemplars, clamp units
(<code>snakemake interventions</code>), and look for the pairs on another sample set
(<code>snakemake replication --configfile config/examples/replications.yaml</code>). The rows of
results/evidence hold every number for every pair.</p>"""


def _not_fully_tested(evidence: Mapping[str, pd.DataFrame]) -> str:
    if not (pairs := passed_untested(evidence)):
        return ""
    return f"<p>Of them {pairs} were not put to every test that was made of others.</p>"


def _by_r_alone(evidence: Mapping[str, pd.DataFrame]) -> str:
    q = pd.concat([table["q"] for table in evidence.values()]).dropna()
    if q.empty:
        return ""
    above = int((q <= LEVEL).sum())
    return (
        f"<p>By r alone, favourite places included, {above} of {len(q)} pairs have a q-value of at "
        f"most {LEVEL:.0%}. The test above asks for that, or for the same of what is left without "
        "favourite places.</p>"
    )


def _models_section(
    evidence: Mapping[str, pd.DataFrame], of_units: Mapping[str, pd.DataFrame]
) -> str:
    passing = models_that_agree(evidence)
    above_chance = models_that_hold(list(of_units.values()), LEVEL)
    columns = {"units with a best buddy that passes every test": passing}
    if len(above_chance) == len(passing):
        columns[f"units with a match above chance, {LEVEL:.0%} false at most"] = above_chance
    head = "".join(f"<th>{words}</th>" for words in columns)
    rows = "\n".join(
        f"<tr><th scope='row'>{least} of {len(passing)}</th>"
        + "".join(f"<td class='number'>{of[least]}</td>" for of in columns.values())
        + "</tr>"
        for least in passing.index
    )
    return f"""<h2>In how many models</h2>
<p>Of all units of the generator, those with a match in at least so many models. Above chance means
that images that were moved rarely give a unit so strong a best buddy, without mean maps; p-values
of the models are joined by partial conjunction.</p>
<table><thead><tr><th>models</th>{head}</tr></thead><tbody>
{rows}
</tbody></table>"""


def _row(row, listed: Mapping[str, int]) -> str:
    cells = []
    for kind, of in (
        ("pairs", row.pairs_tested),
        ("units", listed["units"]),
        ("concepts", listed["concepts"]),
    ):
        count = getattr(row, kind)
        share = 100 * count / of if of else 0
        cells.append(
            f'<td class="number">{count} <small>of {of}</small>'
            f'<span class="bar" style="width: {share:.1f}%"></span></td>'
        )
    kind = ' class="all"' if row.badge == ALL else ""
    return (
        f'<tr{kind}><th scope="row">{escape(row.badge)}</th><td>{escape(row.sentence)}</td>'
        f"{''.join(cells)}</tr>"
    )
