"""Jobs of Snakemake on Slurm: refused where no node can run them, and looked at often.

`mend` is for what snakemake-executor-plugin-slurm 2.8.0 does not do.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rosetta_steps.runtime.slurm import Asked, most_of, refuse_jobs_left, refuse_what_cannot_run

# Seconds between two looks at the jobs, at most: one question about all jobs of the run. The plugin
# waits longer and longer, up to 180.
LONGEST_WAIT = 10


def mend(plugin: Any) -> None:
    """Have the plugin look at jobs at least every LONGEST_WAIT seconds, and say how they ended.

    Version 2.8.0 takes the state "CANCELLED by 0", as sacct words it, for that of a job that runs,
    waits up to 180 seconds between two looks while nothing ends, says "FAILED" of a job that Slurm
    killed for its memory, and of a group nothing at all.

    Args:
        plugin: snakemake_executor_plugin_slurm.
    """
    ask, check = plugin.query_job_status, plugin.Executor.check_active_jobs
    report = plugin.Executor.report_job_error

    async def query_job_status(*arguments, **options):
        states, seconds = await ask(*arguments, **options)
        if states is not None:
            states = {job: state.split()[0] for job, state in states.items() if state.strip()}
        return states, seconds

    async def check_active_jobs(self, active_jobs):
        async for job in check(self, active_jobs):
            yield job
        wait = self.next_seconds_between_status_checks
        self.next_seconds_between_status_checks = min(wait or LONGEST_WAIT, LONGEST_WAIT)

    def report_job_error(self, job_info, msg=None, **options):
        words = f"{msg or ''}{why_it_ended(job_info)} "  # Snakemake puts its own behind
        if job_info.job.is_group():  # of a group it would say nothing
            self.logger.error(words.strip())
        report(self, job_info, msg=words, **options)

    plugin.Executor.report_job_error = report_job_error
    plugin.query_job_status = query_job_status
    plugin.Executor.check_active_jobs = check_active_jobs


def why_it_ended(job_info: Any) -> str:
    """Return why a job failed, as far as Slurm, the step or Snakemake on the node says so.

    Args:
        job_info: What the plugin knows of a job: `job`, and `aux` with its log.
    """
    file: Any = (job_info.aux or {}).get("slurm_logfile")
    if file is None:  # it was not submitted
        return ""
    if not Path(file).exists():
        return f" It wrote no log: does the node see {Path.cwd()}?"
    lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    killed = [line.strip() for line in lines if line.startswith("slurmstepd") and "error:" in line]
    if killed:
        known = job_info.job.resources.get
        asked = f"It had asked for {known('mem_mb')} MB and {known('runtime')} minutes."
        return f" Slurm: {killed[0].partition('error:')[2].strip(' *')}. {asked}"
    if of_the_step := [line for line in lines if line.startswith("Error: ")]:
        return f" {of_the_step[0]}"
    refused = [number for number, line in enumerate(lines) if line.startswith("WorkflowError in")]
    return f" {lines[refused[0] + 1].strip()}" if refused and refused[0] + 1 < len(lines) else ""


def on_slurm(workflow: Any) -> bool:
    """Whether this process of Snakemake submits its jobs to Slurm."""
    plugin = workflow.executor_plugin
    return plugin is not None and plugin.name == "slurm"


def prepare(workflow: Any) -> tuple[float, float]:
    """Refuse what cannot run on this cluster, and look at jobs often (the Snakefile's onstart).

    Args:
        workflow: Snakemake's, with its jobs.

    Returns:
        Megabytes and minutes that a job may ask for at most.

    Raises:
        ValueError: As refuse_what_cannot_run has it.
    """
    import snakemake_executor_plugin_slurm

    dag = workflow.dag
    single = [job for job in dag.needrun_jobs() if not workflow.is_local(job.rule)]
    together: dict[Any, list] = {}
    for job in single:
        together.setdefault(dag.get_job_group(job) or job, []).append(job)
    accounts = [str(job.resources.get("slurm_account") or "") for job in single]
    asked = [asked_by_chain([asked_by(job) for job in jobs]) for jobs in together.values()]
    refuse_what_cannot_run(asked, filter(None, accounts))
    refuse_jobs_left(Path.cwd())
    mend(snakemake_executor_plugin_slurm)
    return most_of(one.partition for one in asked)


def asked_by(job: Any) -> Asked:
    """Return what a job of Snakemake asks for."""
    known: Callable[[str], Any] = job.resources.get

    def number(key: str) -> int:
        value = known(key)
        return value if isinstance(value, int) else 0  # not known before its inputs are there

    return Asked(
        job=f"{job.name} ({next(iter(job.output), '')})",
        partition=str(known("slurm_partition") or ""),
        cores=job.threads,
        memory_mb=number("mem_mb"),
        gpus=number("gpu"),
        minutes=number("runtime"),
    )


def asked_by_chain(jobs: Sequence[Asked]) -> Asked:
    """Return what jobs ask for that run one after the other in one Slurm job.

    Snakemake would say the same of the group, but keep to it when a plan knows more.
    """
    return replace(
        jobs[0],
        job=" with ".join(one.job for one in jobs),
        cores=max(one.cores for one in jobs),
        memory_mb=max(one.memory_mb for one in jobs),
        gpus=max(one.gpus for one in jobs),
        minutes=sum(one.minutes for one in jobs),
    )
