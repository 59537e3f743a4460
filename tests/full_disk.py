"""A disk that is full, and what steps say then."""

import contextlib
import resource

import pytest

from rosetta_steps.runtime import errors


@contextlib.contextmanager
def full_disk(room: int = 100):
    """No file may exceed `room` bytes: writes fail as on a full disk, with another errno."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def message_of(step) -> str:
    """What a step says when the disk is full; given a message, sys.exit returns 1."""
    with pytest.raises(
        SystemExit, match="(larger than its file|disk is full).* finished work is kept"
    ) as stopped:
        errors.run(step)
    return stopped.value.code
