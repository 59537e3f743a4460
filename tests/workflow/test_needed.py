"""What jobs ask for: GPUs by one word, memory and minutes as the plan says them."""

import json
from types import SimpleNamespace

import pytest

from rosetta_steps.runtime.needs import MINUTES, PROCESS, USUAL, memory_of_a_dump, read_needs
from rosetta_steps.workflow.needed import Needs

ONE = SimpleNamespace(sample_set="tiny", model="one")
PAIR = SimpleNamespace(sample_set="tiny", a="generator", b="one")


@pytest.fixture
def needs(tmp_path, monkeypatch):
    """Needs of a config in an empty folder; the function lays settings over it."""
    monkeypatch.chdir(tmp_path)

    def needs(**settings):
        correlation = {"memory_gb": 2, "threads_per_worker": 1, "gpus": 1, "splits": 1}
        correlation |= settings.pop("correlation", {})
        config = {"correlation": correlation, "inversion": {"memory_gb": 2}} | settings
        return Needs(SimpleNamespace(config=config, decoys=lambda a, b: 1))

    return needs


def write_plan(folder, **models):
    (folder / "results/plans").mkdir(parents=True)
    (folder / "results/plans/tiny.json").write_text(json.dumps({"models": models}))


def test_without_a_plan_a_job_asks_for_the_usual(needs):
    assert needs().memory("activations")(ONE, attempt=1, threads=8) == USUAL["activations"]
    assert needs().minutes("activations")(ONE, attempt=1) == MINUTES


def test_a_job_asks_for_what_the_plan_says_of_its_model_and_of_a_copy_of_it(needs, tmp_path):
    write_plan(tmp_path, one={"memory_mb": 5100, "minutes": 33, "units": 9})
    copy = SimpleNamespace(sample_set="tiny", model="one.untrained-0")
    for wildcards in (ONE, copy):
        assert needs().memory("activations")(wildcards, attempt=1, threads=8) == 5100
        assert needs().minutes("activations")(wildcards, attempt=1) == 33


def test_what_a_plan_does_not_time_may_take_hours(needs, tmp_path):
    write_plan(tmp_path, one={"memory_mb": 5100, "minutes": 33, "units": 9})
    minutes = {
        step: needs().minutes(step)(PAIR, attempt=1) for step in ("image_sums", "correlation")
    }
    assert minutes == {"image_sums": 33, "correlation": MINUTES}
    assert needs().minutes("inversion")(SimpleNamespace(arm="all"), attempt=1) == MINUTES


def test_a_job_that_is_tried_again_asks_for_more_up_to_what_a_node_has(needs):
    chosen = needs()
    memory, usual = chosen.memory("activations"), USUAL["activations"]
    assert [memory(ONE, attempt=n, threads=1) for n in (1, 2, 3)] == [usual, 2 * usual, 3 * usual]
    chosen.most = (1.5 * usual, 1.5 * MINUTES)
    assert [memory(ONE, attempt=n, threads=1) for n in (1, 2)] == [usual, 1.5 * usual]
    assert [chosen.minutes("activations")(ONE, attempt=n) for n in (1, 2)] == [
        MINUTES,
        1.5 * MINUTES,
    ]


def test_a_correlation_asks_for_its_workers_and_for_what_the_tables_of_its_units_take(
    needs, tmp_path
):
    write_plan(tmp_path, generator={"units": 1000}, one={"units": 10000})
    tables = 16 * 2 * 1000 * 10000 // 10**6  # of correlations and one decoy
    chosen = needs(device="cpu")
    for threads in (1, 8):
        asked = chosen.memory("correlation")(PAIR, attempt=1, threads=threads)
        assert asked == PROCESS + 2000 * threads + tables


def test_workers_that_are_slurm_jobs_ask_for_themselves(needs):
    chosen = needs(device="cpu", correlation={"scheduler": "slurm"})
    assert chosen.workers_apart
    assert chosen.memory("correlation")(PAIR, attempt=1, threads=8) == PROCESS + 2000


@pytest.mark.parametrize(("settings", "gpus"), [({}, 1), ({"device": "cpu"}, 0)])
def test_one_word_of_the_config_says_whether_jobs_ask_for_gpus(settings, gpus, needs):
    chosen = needs(**settings)
    assert chosen.gpus() == gpus and chosen.gpus(4) == 4 * gpus and chosen.gpus(0) == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"models": {"one": {"memory_mb": "much"}}}'])
def test_a_plan_that_cannot_be_read_is_no_plan(text, tmp_path):
    (tmp_path / "plan.json").write_text(text)
    assert read_needs(tmp_path / "plan.json") == {}


def test_memory_of_a_dump_grows_with_its_files_and_sums():
    assert memory_of_a_dump(0, 0) == PROCESS
    assert memory_of_a_dump(1e9, 0) > memory_of_a_dump(0, 1e9) > PROCESS
