"""What jobs ask for: GPUs by one word, memory and minutes as the plan says them."""

import json
from types import SimpleNamespace

import pytest

from rosetta_steps.runtime.needs import MINUTES, PROCESS, USUAL, memory_of_a_dump, read_needs
from rosetta_steps.workflow import needed
from rosetta_steps.workflow.needed import Needs

ONE = SimpleNamespace(sample_set="tiny", model="one")
PAIR = SimpleNamespace(sample_set="tiny", a="generator", b="one")


@pytest.fixture
def needs(tmp_path, monkeypatch):
    """Needs of a config in an empty folder; the function lays settings over it."""
    monkeypatch.chdir(tmp_path)

    def needs(cores=1, here=False, several=False, runs=False, **settings):
        correlation = {"memory_gb": 2, "threads_per_worker": 1, "gpus": 1, "splits": 1}
        correlation |= settings.pop("correlation", {})
        config = {"correlation": correlation, "inversion": {"memory_gb": 2}} | settings
        rules = SimpleNamespace(config=config, decoys=lambda a, b: 1)
        rules.several_stale = lambda kind, sample_set, targets: several
        rules.runs = lambda sample_set: runs
        rules.runs_model = lambda sample_set, model: runs
        return Needs(rules, cores, here=here)

    return needs


def write_plan(folder, **models):
    (folder / "results/plans").mkdir(parents=True, exist_ok=True)
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


def test_a_correlation_that_takes_moments_asks_for_their_sums_in_each_process(needs, tmp_path):
    chosen, without = (
        needs(device="cpu", runs=runs).memory("correlation") for runs in (True, False)
    )
    # Three times in the job and once in each worker; or a pass of its own before, within a bound.
    for sums, threads, more in ((300, 1, 1200), (300, 2, 1500), (20_000, 2, 1500)):
        write_plan(tmp_path, one={"sums_mb": sums})
        asked = {"attempt": 1, "threads": threads}
        assert chosen(PAIR, **asked) == without(PAIR, **asked) + more


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


@pytest.fixture
def devices(monkeypatch):
    """Have a machine with some devices, and any amount of memory."""

    def devices(count, memory=1e12):
        monkeypatch.setattr(needed, "installed_devices", lambda: count)
        monkeypatch.setattr(needed, "visible_devices", list)
        monkeypatch.setattr(needed, "available_bytes", lambda: memory)

    return devices


@pytest.mark.parametrize("step", ["activations", "correlation", "image_sums", "streams"])
def test_two_models_at_once_have_half_the_cores_each_and_one_has_all(needs, devices, step):
    devices(0)
    cores = {
        several: needs(9, here=True, several=several).cores_beside(step)(
            SimpleNamespace(**vars(PAIR), model="one")
        )
        for several in (False, True)
    }
    assert cores == {False: 9, True: 4}


def test_maps_of_matched_units_are_copied_on_one_core_or_made_as_others_are(needs, devices):
    devices(0)
    kind = {"here": True, "several": True}
    assert needs(8, **kind).cores_beside("matched_maps")(ONE) == 1
    assert needs(8, **kind, runs=True).cores_beside("matched_maps")(ONE) == 4


def test_a_step_has_all_cores_where_memory_does_not_hold_two(needs, devices):
    devices(0, memory=1.9e6 * USUAL["activations"])
    assert needs(8, here=True, several=True).cores_beside("activations")(ONE) == 8


def test_jobs_share_the_cores_of_a_machine_by_its_devices(needs, devices):
    devices(4)
    chosen = needs(16, here=True, several=True)
    assert [chosen.cores(n) for n in (0, 1, 2, 9)] == [16, 4, 8, 16]
    # What takes no device has the processor to itself and another of its kind.
    beside = {step: chosen.cores_beside(step)(ONE) for step in ("activations", "image_sums")}
    assert beside == {"activations": 4, "image_sums": 8}
    assert needs(16, here=True, device="cpu").cores() == 16


def test_a_job_elsewhere_has_all_that_it_is_let(needs, devices):
    devices(0)
    assert needs(8, several=True).cores_beside("activations")(ONE) == 8
    workers_apart = needs(8, here=True, correlation={"scheduler": "slurm"})
    assert workers_apart.cores_beside("correlation")(PAIR) == 1


def test_jobs_ask_for_no_gpu_where_this_machine_has_none(needs, devices):
    devices(0)
    assert [needs(here=here).gpus() for here in (True, False)] == [0, 1]
    devices(1)
    assert [needs(here=True).gpus(), needs(here=True, device="cpu").gpus()] == [1, 0]


def test_a_gpu_that_only_nvidia_smi_knows_of_is_asked_for(needs, devices, monkeypatch):
    devices(0)
    monkeypatch.setattr(needed, "visible_devices", lambda: ["GPU-1", "GPU-2"])
    assert (needs(8, here=True).gpus(), needs(8, here=True).cores()) == (1, 4)


def test_what_was_decided_stays_while_jobs_take_memory(needs, devices):
    devices(0)
    chosen = needs(8, here=True, several=True)
    cores = chosen.cores_beside("activations")
    assert cores(ONE) == 4
    devices(0, memory=0)
    assert cores(ONE) == 4
