"""Snakemake's jobs on Slurm are looked at often, and it is said how they ended."""

import asyncio
from types import SimpleNamespace

import pytest

from rosetta_steps.runtime.slurm import Asked
from rosetta_steps.workflow.slurm import LONGEST_WAIT, asked_by, asked_by_chain, mend, on_slurm


@pytest.fixture
def plugin():
    """The plugin as far as it is mended: it waits 180 seconds, and passes on sacct's words."""

    class Executor:
        next_seconds_between_status_checks = None

        async def check_active_jobs(self, active_jobs):
            states, _ = await plugin.query_job_status("sacct", None)
            for job in active_jobs:
                if states[job] not in ("CANCELLED", "COMPLETED"):
                    yield job
            self.next_seconds_between_status_checks = 180

        def report_job_error(self, job_info, msg=None, aux_logs=None):
            self.said = msg.strip()

        class logger:
            said = ""

            @classmethod
            def error(cls, words):
                cls.said = words

    async def query_job_status(command, logger):
        states = {"1": "CANCELLED by 0", "2": "RUNNING", "3": "COMPLETED"}
        return (states, 0.1) if command == "sacct" else (None, None)

    plugin = SimpleNamespace(Executor=Executor, query_job_status=query_job_status)
    return plugin


def test_a_job_that_somebody_cancelled_counts_as_ended_and_the_next_look_comes_soon(plugin):
    mend(plugin)
    executor = plugin.Executor()

    async def active():
        return [job async for job in executor.check_active_jobs(["1", "2", "3"])]

    assert asyncio.run(active()) == ["2"]
    assert executor.next_seconds_between_status_checks == LONGEST_WAIT


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "slurmstepd-n1: error: Step 94.0 exceeded memory limit (727 > 500), being killed",
            "FAILED. Slurm: Step 94.0 exceeded memory limit (727 > 500), being killed. It had "
            "asked for 500 MB and 20 minutes.",
        ),
        (
            "slurmstepd-n1: error: *** JOB 97 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT ***",
            "FAILED. Slurm: JOB 97 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT. It had asked for 500 "
            "MB and 20 minutes.",
        ),
        ("WorkflowError in file Snakefile, line 9:", "FAILED. after"),
        ("Error: what the step says. Do this.", "FAILED. Error: what the step says. Do this."),
        ("Traceback", "FAILED."),
    ],
)
def test_of_a_job_that_slurm_killed_it_is_said_why_and_what_it_had_asked_for(
    line, words, plugin, tmp_path
):
    (tmp_path / "1.log").write_text(f"before\n{line}\nafter\n")
    mend(plugin)
    executor = plugin.Executor()
    job = SimpleNamespace(resources={"mem_mb": 500, "runtime": 20}, is_group=lambda: False)
    info = SimpleNamespace(job=job, aux={"slurm_logfile": tmp_path / "1.log"})
    executor.report_job_error(info, msg="FAILED.", aux_logs=[])
    assert executor.said == words
    executor.report_job_error(SimpleNamespace(job=job, aux={}), msg="FAILED.")
    assert executor.said == "FAILED."


def test_of_a_job_without_a_log_it_is_asked_whether_the_node_sees_the_folder(plugin, tmp_path):
    mend(plugin)
    executor = plugin.Executor()
    job = SimpleNamespace(is_group=lambda: False)
    info = SimpleNamespace(job=job, aux={"slurm_logfile": tmp_path / "1.log"})
    executor.report_job_error(info, msg="FAILED.")
    assert executor.said.startswith("FAILED. It wrote no log: does the node see /")


def test_of_a_group_of_which_snakemake_says_nothing_it_is_logged_why_it_ended(plugin):
    mend(plugin)
    executor = plugin.Executor()
    for group, expected in ((False, ""), (True, "job 7 FAILED.")):
        job = SimpleNamespace(is_group=lambda group=group: group)
        executor.report_job_error(SimpleNamespace(job=job, aux=None), msg="job 7 FAILED.")
        assert executor.logger.said == expected


def test_an_answer_that_did_not_come_stays_none(plugin):
    mend(plugin)
    assert asyncio.run(plugin.query_job_status("squeue", None)) == (None, None)


def test_the_plugin_has_what_is_mended():
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm", reason="needs the extra slurm")
    assert asyncio.iscoroutinefunction(plugin.query_job_status)
    assert hasattr(plugin.Executor, "check_active_jobs")


def test_what_a_job_asks_for_is_what_its_resources_say():
    resources = {"slurm_partition": "work", "mem_mb": 5000, "gpu": 1, "runtime": "<TBD>"}
    job = SimpleNamespace(name="activations", output=["x"], threads=4, resources=resources)
    asked = asked_by(job)
    assert (asked.job, asked.partition, asked.cores) == ("activations (x)", "work", 4)
    assert (asked.memory_mb, asked.gpus, asked.minutes) == (5000, 1, 0)


def test_jobs_that_share_a_slurm_job_ask_for_the_most_of_each_and_for_all_their_minutes():
    jobs = [
        Asked(job=name, partition="work", cores=c, memory_mb=mb, gpus=gpus, minutes=minutes)
        for name, c, mb, gpus, minutes in (("a", 8, 5000, 1, 240), ("b", 1, 9000, 0, 30))
    ]
    asked = asked_by_chain(jobs)
    assert (asked.job, asked.cores, asked.memory_mb) == ("a with b", 8, 9000)
    assert (asked.gpus, asked.minutes) == (1, 270)
    assert asked_by_chain(jobs[:1]) == jobs[0]


@pytest.mark.parametrize(("name", "expected"), [("slurm", True), ("local", False), (None, False)])
def test_only_a_process_that_submits_to_slurm_asks_it(name, expected):
    plugin = None if name is None else SimpleNamespace(name=name)
    assert on_slurm(SimpleNamespace(executor_plugin=plugin)) == expected
