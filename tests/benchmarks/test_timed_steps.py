"""Steps that fail or run too long hold up no other, and the page says what became of all."""

import sys

from rosetta_steps.benchmarks.timed_steps import (
    FAILED,
    NOT_RUN,
    OVER,
    PASSED,
    Step,
    page_of,
    run_steps,
    table_of,
)


def says(words: str) -> list[str]:
    return [sys.executable, "-c", words]


def refuse(log: str) -> str:
    raise ValueError(f"not what was wanted: {log.strip()}")


def test_a_failing_step_and_one_over_its_limit_hold_up_no_other(tmp_path):
    steps = [
        Step("fails", says("print('before'); raise SystemExit('the reason')"), 60),
        Step("waits for ever", says("import signal; print('up', flush=True); signal.pause()"), 3),
        Step("needs it", says(""), 60, needs=("fails",)),
        Step("no such program", [str(tmp_path / "nothing")], 60),
        Step("refused", says("print('figure 7')"), 60, figures=refuse),
        Step("passes", says("print('|<1>')"), 60, figures=str.strip, needs=()),
        Step("needs what passed", says(""), 60, needs=("passes",)),
    ]
    seen = []
    outcomes = run_steps(steps, tmp_path / "logs", 600, {}, lambda done: seen.append(len(done)))
    states = [outcome.state for outcome in outcomes]
    assert states == [FAILED, OVER, NOT_RUN, FAILED, FAILED, PASSED, PASSED]
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert outcomes[0].tail == "before\nthe reason" and outcomes[0].why == "exit status 1"
    assert outcomes[2].why == "needs: fails"
    assert "not what was wanted: figure 7" in outcomes[4].why
    assert outcomes[5].figures == "|<1>" and outcomes[5].tail == ""
    page = page_of("Title", "Words.", outcomes)
    assert page.startswith("# Title\n\nWords.\n\n| step | outcome |")
    assert "the reason" in page and "| needs it | not run | 0 | needs: fails |" in page
    assert "## Passes" in page and "## Needs it" not in page


def test_when_the_time_of_all_is_over_the_rest_is_listed_as_not_run(tmp_path):
    outcomes = run_steps([Step("late", says(""), 60)], tmp_path, 0, {})
    assert [(o.state, o.why) for o in outcomes] == [(NOT_RUN, "no time was left")]


def test_variables_of_a_step_replace_those_of_all_and_it_is_prepared_in_its_folder(tmp_path):
    words = "import os; print(os.environ['A'], os.environ['B'], os.listdir())"
    step = Step(
        "reads",
        says(words),
        60,
        tmp_path / "made",
        environment={"B": "own"},
        prepare=lambda: (tmp_path / "made/inside").mkdir(parents=True),
        figures=str.strip,
    )
    (outcome,) = run_steps([step], tmp_path, 60, {"A": "all", "B": "all"})
    assert outcome.figures == "all own ['inside']"


def test_of_a_progress_bar_the_end_of_its_line_is_kept(tmp_path):
    words = r"print('10 %\r100 %'); raise SystemExit(3)"
    (outcome,) = run_steps([Step("bar", says(words), 60)], tmp_path, 60, {})
    assert outcome.tail == "100 %"


def test_a_cell_is_neither_html_nor_another_column():
    assert table_of(["a"], [["x | <b>\ny"]]).splitlines()[-1] == "| x \\| &lt;b> y |"
