"""What no node of a cluster can run is refused, in one line with what the nodes have."""

import pytest

from rosetta_steps.runtime import slurm
from rosetta_steps.runtime.slurm import (
    Asked,
    Node,
    gpus_in,
    jobs_there,
    longest_minutes,
    minutes_in,
    most_of,
    refuse_account,
    refuse_forgotten_jobs,
    refuse_job,
    refuse_jobs_left,
    refuse_script,
    refuse_what_cannot_run,
)

SMALL = Node("n1", cores=4, memory_mb=16000, gpus=0)
LARGE = Node("n2", cores=64, memory_mb=256000, gpus=0)
CARDS = Node("g1", cores=16, memory_mb=64000, gpus=4)


def asked(**what):
    needs = {"cores": 1, "memory_mb": 1000, "gpus": 0, "minutes": 10}
    return Asked(job="activations (x)", partition="work", **needs | what)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program of some name first in PATH that prints what it is told."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def program(name, output="", status=0):
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'X'\n{output}\nX\nexit {status}\n")
        (tmp_path / name).chmod(0o755)

    return program


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"cores": 65}, r"65 cores, .* work .* has more than 64 \(n2: 64 cores.*Lower max-threads"),
        (
            {"memory_mb": 256001},
            "256001 MB of memory, .*more than 256000.*Lower correlation.memory",
        ),
        ({"gpus": 5}, r"5 GPUs, .*more than 4 \(g1: 16 cores, 64000 MB, 4 GPUs\).*`device: cpu`"),
        ({"gpus": 1, "cores": 32}, "1 GPUs, .*could run it has more than 0"),
        ({"minutes": 61}, "61 minutes, and partition work lets a job run for 60. Set runt"),
    ],
)
def test_a_job_that_no_single_node_can_run_is_refused_with_the_largest_and_a_remedy(what, message):
    with pytest.raises(ValueError, match=f"^activations .x. asks for .*{message}"):
        refuse_job(asked(**what), [SMALL, LARGE, CARDS], 60)


def test_a_job_that_some_node_can_run_is_accepted():
    for what in ({"cores": 64, "memory_mb": 256000}, {"gpus": 4, "cores": 16}, {"minutes": 60}):
        refuse_job(asked(**what), [SMALL, LARGE, CARDS], 60)


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("(null)", 0),
        ("gpu:1", 1),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu:a100:4(S:0,2),gpu:t4:2(S:1),shard:8", 6),
        ("nic:2,gpu:h200:8", 8),
    ],
)
def test_cards_are_counted_as_slurm_words_them(gres, count):
    assert gpus_in(gres) == count


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", float("inf")), ("30:00", 30), ("4:00:00", 240), ("2-00:00:00", 2880)],
)
def test_time_limits_are_read_as_slurm_words_them(limit, minutes):
    assert minutes_in(limit) == minutes


def test_a_machine_without_slurm_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="no sbatch on this machine. Start Snakemake where jobs"):
        refuse_what_cannot_run([asked()])


def test_a_partition_that_does_not_exist_is_refused_with_those_that_do(program):
    program("sinfo", "")
    with pytest.raises(ValueError, match="no partition 'gpus' with nodes. This cluster has none"):
        slurm.nodes_of("gpus")


def test_nodes_and_limits_are_those_of_sinfo(program):
    program("sinfo", "n1|4|16000|(null)|work\ng1|16+|64000+|gpu:4|work")
    assert slurm.nodes_of("work") == [SMALL, CARDS]
    program("sinfo", "1-00:00:00\n2:00:00")
    assert longest_minutes("work") == 1440


def test_what_a_job_may_ask_for_at_most_is_that_of_the_largest_node(program):
    program("sinfo", "n1|4|16000|gpu:2|work\nn2|4|32000|gpu:2|work")
    assert most_of(["work"]) == (32000, float("inf"))


def test_an_account_that_a_user_does_not_have_is_refused_with_those_that_they_do(program):
    program("sacctmgr", "mine\nOurs")
    refuse_account("ours")
    with pytest.raises(
        ValueError, match="has no account 'theirs' here, but mine, ours: set one in"
    ):
        refuse_account("theirs")


def test_a_cluster_without_accounts_takes_any(program):
    program("sacctmgr", "You are not running a supported accounting_storage plugin", 1)
    refuse_account("any")


@pytest.mark.parametrize(
    ("age", "storage", "refused"),
    [(2, "none", True), (2, "slurmdbd", False), (300, "none", False)],
)
def test_a_cluster_that_forgets_how_a_job_ended_is_refused(age, storage, refused, program):
    program(
        "scontrol",
        f"AccountingStorageType   = accounting_storage/{storage}\nMinJobAge   = {age} sec",
    )
    if not refused:
        refuse_forgotten_jobs()
        return
    with pytest.raises(ValueError, match="forgets ended jobs after 2 seconds"):
        refuse_forgotten_jobs()


def test_jobs_of_a_killed_run_are_named_and_a_shell_in_the_same_folder_is_not(program, tmp_path):
    lines = [
        f"7|uuid|rule_activations_one|{tmp_path}",
        f"8|dask-generator--one|(null)|{tmp_path}",
        f"9|bash|(null)|{tmp_path}",
        "10|uuid|rule_activations_one|/elsewhere",
    ]
    program("squeue", "\n".join(lines))
    with pytest.raises(ValueError, match="2 Slurm jobs of an earlier run .*: scancel 7 8$"):
        refuse_jobs_left(tmp_path)
    program("squeue", lines[2])
    refuse_jobs_left(tmp_path)


def test_of_some_jobs_those_are_there_that_slurm_still_has(program):
    program("squeue", "7\n8\n9")
    assert jobs_there({"8", "10"}) == {"8"}


def test_what_slurm_says_of_a_script_is_said(program):
    program("sbatch", "sbatch: error: Invalid qos specification", 1)
    with pytest.raises(ValueError, match="sbatch failed: sbatch: error: Invalid qos"):
        refuse_script("#!/bin/sh\n")
