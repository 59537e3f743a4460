"""A job on another machine with other versions is refused with both."""

import pytest

from rosetta_steps.runtime.environment import (
    VARIABLE,
    refuse_other_versions,
    share_versions,
    versions,
)


def test_a_job_with_the_versions_of_the_process_that_submitted_it_runs(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    share_versions()
    refuse_other_versions()


def test_a_job_that_nobody_submitted_runs(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    refuse_other_versions()


def test_other_versions_are_named_with_those_of_the_process_that_submitted_the_job(monkeypatch):
    here = versions()
    torch = next(one for one in here.split(", ") if one.startswith("torch "))
    monkeypatch.setenv(VARIABLE, here.replace(torch, "torch 1.0"))
    with pytest.raises(ValueError, match=f" has {torch} and not torch 1.0: this job was submitted"):
        refuse_other_versions()
