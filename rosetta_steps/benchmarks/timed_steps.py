"""Commands run one after the other within a time that they share, and a page of what came out.

A step that fails or runs past its limit does not hold up those after it; one that needs it, or for
which no time is left, is listed as not run. Nothing but Python's own library is imported here: on a
bare machine the first step may be what installs the rest.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

PASSED, FAILED, OVER, NOT_RUN = "passed", "failed", "over its limit", "not run"
LINES_OF_A_FAILURE = 15
LEAST_SECONDS = 5  # with less left no step is started


@dataclass(frozen=True)
class Step:
    """A command, and what is read off when it has passed.

    Attributes:
        name: For the page, and for the name of its log.
        command: Program and arguments.
        seconds: After which it is ended.
        folder: In which it runs; None: the working folder.
        environment: Variables that replace those of the others.
        prepare: Called before it, within its time.
        figures: Makes Markdown of its log. A ValueError says why the step counts as failed.
        needs: Names of steps without which it makes no sense.
    """

    name: str
    command: list[str]
    seconds: float
    folder: Path | None = None
    _: KW_ONLY
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], object] = lambda: None
    figures: Callable[[str], str] = lambda log: ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Attributes:
        step: The step.
        state: PASSED, FAILED, OVER or NOT_RUN.
        seconds: It took.
        figures: Markdown.
        why: In a few words, where it did not pass.
        tail: Last lines of its log, where it did not pass.
    """

    step: Step
    state: str
    seconds: float = 0.0
    _: KW_ONLY
    figures: str = ""
    why: str = ""
    tail: str = ""

    def line(self) -> str:
        """One line to print."""
        why = f" ({self.why})" if self.why else ""
        return f"{self.step.name}: {self.state}{why}, {self.seconds:.0f} s"


def run_steps(
    steps: Iterable[Step],
    logs: Path,
    seconds: float,
    environment: Mapping[str, str],
    after_each: Callable[[list[Outcome]], object] = lambda outcomes: None,
) -> list[Outcome]:
    """Run steps in their order.

    Args:
        steps: Of different names.
        logs: Folder of their logs, which is made.
        seconds: That they share.
        environment: Variables of all steps.
        after_each: Called with the outcomes so far.

    Returns:
        One outcome a step.
    """
    logs.mkdir(parents=True, exist_ok=True)
    until, outcomes = time.monotonic() + seconds, list[Outcome]()
    for step in steps:
        passed = {outcome.step.name for outcome in outcomes if outcome.state == PASSED}
        missing = [name for name in step.needs if name not in passed]
        left = until - time.monotonic()
        if missing:
            outcome = Outcome(step, NOT_RUN, why=f"needs: {', '.join(missing)}")
        elif left < LEAST_SECONDS:
            outcome = Outcome(step, NOT_RUN, why="no time was left")
        else:
            log = logs / f"{step.name.replace(' ', '-')}.log"
            outcome = _run(step, log, min(step.seconds, left), environment)
        outcomes.append(outcome)
        after_each(outcomes)
    return outcomes


def _run(step: Step, log: Path, limit: float, environment: Mapping[str, str]) -> Outcome:
    begin = time.monotonic()
    state, why, figures = FAILED, "", ""
    try:
        step.prepare()
        with log.open("w", encoding="utf-8") as output:
            code = _ended(step, output, begin + limit, environment)
        if code is None:
            state, why = OVER, f"ended after {limit:.0f} s"
        elif code:
            why = f"exit status {code}"
        else:
            figures = step.figures(_text(log))
            state = PASSED
    except (OSError, ValueError, KeyError) as error:
        why = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - begin
    tail = "" if state == PASSED else "\n".join(_text(log).splitlines()[-LINES_OF_A_FAILURE:])
    return Outcome(step, state, seconds, figures=figures, why=why, tail=tail)


def _ended(step: Step, output, until: float, environment: Mapping[str, str]) -> int | None:
    process = subprocess.Popen(
        step.command,
        cwd=step.folder,
        env=os.environ | dict(environment) | dict(step.environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that the jobs which it started end with it
    )
    try:
        return process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _text(log: Path) -> str:
    if not log.is_file():
        return ""
    # A progress bar writes over its line: what counts is how it ended.
    lines = log.read_bytes().decode("utf-8", "replace").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def page_of(title: str, words: str, outcomes: Iterable[Outcome]) -> str:
    """A page in Markdown: a table of all steps, the figures of each, and how failures ended.

    Args:
        title: Heading of the page.
        words: Below it, such as machine and versions.
        outcomes: Of `run_steps`.
    """
    outcomes = list(outcomes)
    parts = [f"# {title}", words.strip()]
    rows = [(o.step.name, o.state, f"{o.seconds:.0f}", o.why) for o in outcomes]
    parts.append(table_of(("step", "outcome", "seconds", ""), rows))
    for outcome in outcomes:
        if outcome.figures or outcome.tail:
            parts.append(f"## {outcome.step.name[0].upper()}{outcome.step.name[1:]}")
        if outcome.figures:
            parts.append(outcome.figures.strip())
        if outcome.tail:
            parts.append(f"It did not pass ({outcome.why}). The end of its log:")
            parts.append(fenced(outcome.tail))
    return "\n\n".join(parts) + "\n"


def table_of(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown; text that would read as HTML or as another column is escaped."""

    def line(cells: Iterable[object]) -> str:
        texts = [str(cell).replace("\n", " ").replace("|", "\\|") for cell in cells]
        return f"| {' | '.join(text.replace('<', '&lt;') for text in texts)} |"

    columns = list(columns)
    return "\n".join([line(columns), line(["---"] * len(columns)), *map(line, rows)])


def fenced(text: str) -> str:
    """Text as it is, in a block of code."""
    inside = text.strip("\n").replace("~~~~", "~~~")
    return f"~~~~text\n{inside}\n~~~~"
