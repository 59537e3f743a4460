"""What a Slurm cluster can run, asked before a job is submitted.

A job that no node can run waits for ever, and one under a wrong account fails when it is submitted:
both are refused here, in one line with what the nodes have.
"""

import getpass
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from rosetta_steps.runtime.errors import UserError

ANSWER_SECONDS = 30  # in which a command of Slurm has to answer
# Seconds until jobs are first looked at. The plugin asks sacct in place of squeue if squeue forgets
# jobs in three times as long.
FIRST_LOOK = 5
WORKERS = "dask-"  # names of jobs of Dask workers begin so
PROFILE = "workflow/profiles/slurm/config.yaml"


@dataclass(frozen=True)
class Node:
    """A node of a partition.

    Attributes:
        name: Its name.
        cores: Number of cores.
        memory_mb: Megabytes of memory.
        gpus: Number of GPUs.
    """

    name: str
    cores: int
    memory_mb: int
    gpus: int

    def __str__(self):
        parts = (_counted(self.cores, "core"), f"{self.memory_mb} MB", _counted(self.gpus, "GPU"))
        return f"{self.name}: {', '.join(parts)}"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a job asks for.

    Attributes:
        job: Name of its rule, and a file that it makes.
        partition: Partition, or several with commas; empty for the cluster's default.
        cores, memory_mb, gpus: Its resources.
        minutes: How long it may run.
    """

    job: str
    partition: str
    cores: int
    memory_mb: int
    gpus: int
    minutes: int


# What a job asks for, what a node or partition has of it, and how to ask for less.
REMEDIES = {
    "cores": f"Lower max-threads in {PROFILE}",
    "memory_mb": "Lower correlation.memory_gb or images_per_shard in the config, or max-threads in "
    f"{PROFILE}",
    "gpus": "Set `device: cpu` in the config",
    "minutes": f"Set runtime of the rule in {PROFILE} (set-resources)",
}
NAMES = {"cores": "cores", "memory_mb": "MB of memory", "gpus": "GPUs", "minutes": "minutes"}


def refuse_what_cannot_run(asked: Iterable[Asked], accounts: Iterable[str] = ()) -> None:
    """Refuse jobs that no node of their partition can run, before any is submitted.

    Args:
        asked: What every job asks for.
        accounts: Accounts that jobs are submitted under.

    Raises:
        ValueError: There is no Slurm here, no such account or partition, or no node that can run
            some job; the message has what the nodes have, and what to do.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            "there is no sbatch on this machine. Start Snakemake where jobs are submitted (a login "
            "node), or without --workflow-profile to run jobs here."
        )
    refuse_forgotten_jobs()
    for account in dict.fromkeys(accounts):
        refuse_account(account)
    nodes: dict[str, tuple[list[Node], float]] = {}
    for one in asked:
        if one.partition not in nodes:
            nodes[one.partition] = nodes_of(one.partition), longest_minutes(one.partition)
        refuse_job(one, *nodes[one.partition])


def most_of(partitions: Iterable[str]) -> tuple[float, float]:
    """Return megabytes and minutes that a job may ask for at most in each of some partitions."""
    chosen = set(partitions)
    largest = [max(node.memory_mb for node in nodes_of(one)) for one in chosen]
    unbounded = float("inf")
    return min(largest, default=unbounded), min(map(longest_minutes, chosen), default=unbounded)


def refuse_job(one: Asked, nodes: list[Node], longest: float) -> None:
    """Refuse a job that none of some nodes can run.

    Args:
        one: What it asks for.
        nodes: Nodes of its partition.
        longest: Minutes that the partition lets a job run.

    Raises:
        ValueError: As refuse_what_cannot_run has it.
    """
    for key in ("cores", "memory_mb", "gpus"):
        nodes_left = [node for node in nodes if getattr(node, key) >= getattr(one, key)]
        if not nodes_left:
            largest = max(nodes, key=lambda node: getattr(node, key))
            raise UserError(
                f"{one.job} asks for {getattr(one, key)} {NAMES[key]}, and no node of partition "
                f"{one.partition or '(default)'} that could run it has more than "
                f"{getattr(largest, key)} ({largest}). {REMEDIES[key]}, or take another partition."
            )
        nodes = nodes_left
    if one.minutes > longest:
        raise UserError(
            f"{one.job} asks for {one.minutes} minutes, and partition "
            f"{one.partition or '(default)'} lets a job run for {longest:.0f}. "
            f"{REMEDIES['minutes']}, or take another partition."
        )


def nodes_of(partition: str) -> list[Node]:
    """Return the nodes of a partition, or of several.

    Raises:
        ValueError: There is no such partition, or it has no nodes.
    """
    chosen = ["-p", partition] if partition else []
    lines = _ask("sinfo", "-h", "-N", "-o", "%N|%c|%m|%G|%R", *chosen).split("\n")
    nodes = []
    for line in filter(None, lines):
        name, cores, memory, gres, _ = line.split("|")
        nodes.append(Node(name, _number(cores), _number(memory), gpus_in(gres)))
    if not nodes:
        known = sorted({line.strip() for line in _ask("sinfo", "-h", "-o", "%R").split()})
        raise UserError(
            f"slurm_partition: there is no partition '{partition}' with nodes. This cluster has "
            f"{', '.join(known) or 'none'}: set one in {PROFILE}."
        )
    return nodes


def gpus_in(gres: str) -> int:
    """Return the number of GPUs in sinfo's words, such as gpu:a100:4(S:0-1),shard:8.

    >>> gpus_in("gpu:a100:4(S:0-1),gpu:2,shard:8"), gpus_in("(null)")
    (6, 0)
    """
    found = re.findall(r"(?:^|,)gpu(?::[^:,()]+)??:(\d+)(?=[,(]|$)", gres)
    return sum(map(int, found))


def longest_minutes(partition: str) -> float:
    """Return the minutes that a partition lets a job run; of several, the most."""
    chosen = ["-p", partition] if partition else []
    limits = _ask("sinfo", "-h", "-o", "%l", *chosen).split()
    return max(map(minutes_in, limits), default=float("inf"))


def minutes_in(limit: str) -> float:
    """Return the minutes of a time limit in Slurm's words.

    >>> minutes_in("2-00:30:00"), minutes_in("30:00"), minutes_in("infinite")
    (2910.0, 30.0, inf)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit.strip())
    if match is None:
        return float("inf")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 1440.0 * days + 60 * hours + minutes + seconds / 60


def refuse_account(account: str) -> None:
    """Refuse an account under which this user may not submit; where none are kept, accept any.

    Raises:
        ValueError: Slurm does not know it; the message has those that it knows.
    """
    try:
        answer = _ask("sacctmgr", "-n", "-P", "show", "assoc", f"user={getpass.getuser()}",
                      "format=account")  # fmt: skip
    except UserError:
        return  # a cluster without accounts
    known = sorted({line.strip().lower() for line in answer.splitlines() if line.strip()})
    if known and account.lower() not in known:
        raise UserError(
            f"slurm_account: {getpass.getuser()} has no account '{account}' here, but "
            f"{', '.join(known)}: set one in {PROFILE}."
        )


def refuse_forgotten_jobs() -> None:
    """Refuse a cluster that forgets an ended job before it is asked for it.

    Raises:
        ValueError: It keeps no accounts, and what squeue knows of ended jobs is kept too shortly.
    """
    config = _ask("scontrol", "show", "config")
    age = re.search(r"^MinJobAge\s*=\s*(\d+)", config, re.MULTILINE)
    storage = re.search(r"^AccountingStorageType\s*=\s*(\S+)", config, re.MULTILINE)
    no_accounts = storage is not None and storage[1].endswith(("none", "(null)"))
    if age and int(age[1]) < 3 * FIRST_LOOK and no_accounts:
        raise UserError(
            f"this Slurm keeps no accounts and forgets ended jobs after {age[1]} seconds "
            "(MinJobAge), so that nobody can tell whether they succeeded. Its administrator can "
            "raise MinJobAge to 300, the default."
        )


def refuse_jobs_left(folder: Path) -> None:
    """Refuse to start beside jobs of an earlier run, which was killed and did not end them.

    They go on with what they write, and two jobs must not write one store.

    Args:
        folder: Folder in which Snakemake runs.

    Raises:
        ValueError: Some wait or run; the message has the command that ends them.
    """
    answer = _ask("squeue", "-h", "-u", getpass.getuser(), "-o", "%A|%j|%k|%Z")
    jobs = [line.split("|", 3) for line in answer.splitlines()]
    left = [
        number
        for number, name, comment, place in jobs
        if Path(place) == folder
        and (comment.startswith(("rule_", "group_")) or name.startswith(WORKERS))
    ]
    if left:
        raise UserError(
            f"{_counted(len(left), 'Slurm job')} of an earlier run in {folder} did not end with "
            f"it. Wait until it has ended (squeue), or end it: scancel {' '.join(left)}"
        )


def jobs_there(jobs: Collection[str]) -> set[str]:
    """Return those of this user's jobs that wait or run.

    Args:
        jobs: Their numbers.

    Raises:
        ValueError: Slurm does not answer.
    """
    there = _ask("squeue", "-h", "-u", getpass.getuser(), "-t", "PD,R,CF,S,RQ", "-o", "%A")
    return set(there.split()) & set(jobs)


def refuse_script(script: str) -> None:
    """Refuse a job that Slurm would not accept, without submitting it.

    Args:
        script: Text of the job's script.

    Raises:
        ValueError: Slurm's own words.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        _ask("sbatch", "--test-only", file.name)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _number(words: str) -> int:
    return int(re.match(r"\d+", words)[0])  # type: ignore[index]  # sinfo's, such as 128+


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"Slurm's {command[0]} does not answer ({error}). Start Snakemake on a login node, or "
            "without --workflow-profile to run jobs here."
        ) from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise UserError(f"Slurm's {command[0]} failed: {said}")
    return done.stdout
