"""A plan knows the limits of the container or of the job that it runs in."""

import psutil
import pytest

from rosetta_steps.runtime.budgets import available_bytes


@pytest.fixture
def group(tmp_path):
    """Write the files of a control group."""

    def write(folder, limit, usage, reclaimable):
        place = tmp_path / "groups" / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, value in (limit, usage):
            (place / name).write_text(f"{value}\n")
        (place / "memory.stat").write_text(f"anon 7\n{reclaimable[0]} {reclaimable[1]}\n")

    return write


def available(tmp_path, line):
    (tmp_path / "own").write_text(line)
    return available_bytes(tmp_path / "groups", tmp_path / "own")


def test_the_limit_of_a_job_counts_but_for_what_is_in_use_and_cannot_go(group, tmp_path):
    two = (("memory.max", 1000), ("memory.current", 400), ("inactive_file", 100))
    group("slurm/job_1", *two)
    assert available(tmp_path, "0::/slurm/job_1\n") == 700


def test_a_group_is_within_those_above_it(group, tmp_path):
    group("slurm", ("memory.max", 500), ("memory.current", 200), ("inactive_file", 0))
    group("slurm/job_1", ("memory.max", "max"), ("memory.current", 200), ("inactive_file", 0))
    assert available(tmp_path, "0::/slurm/job_1\n") == 300


def test_groups_of_version_1_are_known_as_well(group, tmp_path):
    one = (
        ("memory.limit_in_bytes", 900),
        ("memory.usage_in_bytes", 1200),
        ("total_inactive_file", 500),
    )
    group("memory/docker/a", *one)
    assert available(tmp_path, "9:cpuset:/\n4:cpu,memory:/docker/a\n0::/\n") == 200


def test_without_limits_it_is_what_the_machine_has(tmp_path):
    free = psutil.virtual_memory().available
    assert available(tmp_path, "0::/nowhere\n") == pytest.approx(free, rel=0.1)
    assert available_bytes(cgroup_file=tmp_path / "none") == pytest.approx(free, rel=0.1)
